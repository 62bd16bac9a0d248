//! Certificates that load balancers show: self-signed, made here, and renewed in place before they end.
//!
//! There is no state but AWS's. In ACM a certificate is ours by a tag with its name, in IAM by a path with its
//! name. Its key is nowhere but there, unless somebody asks for a file of it.

mod acm;
mod domain;
mod ensure;
mod handle;
mod iam;
mod key_file;
mod listeners;
mod name;
mod pair;
mod read;
mod standing;
mod wanted;

pub(crate) use domain::Domain;
pub(crate) use handle::Certificates;
pub(crate) use name::CertName;
pub(crate) use standing::Standing;
pub(crate) use wanted::{Ensured, MOST_DOMAINS, Reason, Store, Wanted};
