//! `pamd`: a rule of a service of PAM. The rules and what is done to them are in `service`.

mod service;

use std::path::Path;

use serde_json::json;

use self::service::{Rule, Service};
use crate::args::Args;
use crate::change::{self, Change};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::text_file::TextFile;

pub(super) struct PamD;

impl ActionModule for PamD {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let path = Path::new(args.required("path")?).join(args.required("name")?);
        let file = TextFile::read(&path)?;
        let Some(text) = &file.text else {
            let shown = path.display();
            return Err(Failure::new(format!(
                "Unable to open/read PAM module file {shown} with error [Errno 2] No such file or \
                 directory: '{shown}'."
            )));
        };
        let mut service = Service::read(text)?;
        let count = apply(args, &mut service)?;
        service.validate().map_err(Failure::new)?;
        let mut backup = String::new();
        if count > 0 && !context.check {
            let kept = file.back_up().filter(|_| args.bool("backup"));
            let (copy, name) = kept.unzip();
            backup = name.unwrap_or_default();
            let text = service.render(
                &jiff::Zoned::now()
                    .strftime("%Y-%m-%dT%H:%M:%S.%6f")
                    .to_string(),
            );
            let changes: Vec<Change> = copy.into_iter().chain([file.write(&text)]).collect();
            change::apply(&changes, context)?;
        }
        let fields = json!({"change_count": count, "backupdest": backup});
        Ok(Outcome::of(count > 0, fields))
    }
}

/// Does what the task asks for, and returns how many rules it changed.
fn apply(args: &Args, service: &mut Service) -> Result<usize, Failure> {
    let key = (
        args.required("type")?,
        args.required("control")?,
        args.required("module_path")?,
    );
    let new = |name: &str| args.str(name).filter(|text| !text.is_empty());
    let words = args
        .has("module_arguments")
        .then(|| service::arguments(&args.list("module_arguments")));
    let words_or_none = words.clone().unwrap_or_default();
    let rule = || {
        let text = |name: &str| args.str(name).unwrap_or_default();
        Rule::new(
            text("new_type"),
            text("new_control"),
            text("new_module_path"),
            words_or_none.clone(),
        )
    };
    Ok(match args.required("state")? {
        "before" => service.insert(key, &rule(), true),
        "after" => service.insert(key, &rule(), false),
        "args_absent" => service.remove_arguments(key, &words_or_none),
        "args_present" => {
            if words_or_none.iter().any(|word| word.starts_with('[')) {
                return Err(Failure::new(
                    "Unable to process bracketed '[' complex arguments with 'args_present'. Please \
                     use 'updated'.",
                ));
            }
            service.add_arguments(key, &words_or_none)
        }
        "absent" => service.remove(key),
        _ => {
            let names = ["new_type", "new_control", "new_module_path"];
            service.update(key, names.map(new), words.as_deref())
        }
    })
}
