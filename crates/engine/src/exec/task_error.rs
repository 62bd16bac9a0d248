//! Why a task fails by itself, whatever its module would answer: the `msg` of its result.

use std::path::PathBuf;

use amibake_playbook::template::Error;
use amibake_playbook::value::Value;

/// A task that cannot be carried out. Those that Ansible begins with "Task failed" so do here.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaskError {
    /// An action's own words for what is wrong with its parameters.
    #[error("{0}")]
    Refused(String),
    /// A template of the task.
    #[error("Task failed: {}", .0.message)]
    Template(#[from] Error),
    /// A condition of it.
    #[error("Task failed: {0}")]
    Condition(#[from] ConditionError),
    /// A template in `environment`.
    #[error("Task failed: Error processing keyword 'environment': {}", .0.message)]
    Environment(#[source] Error),
    /// A template in one of its parameters.
    #[error(
        "Task failed: Finalization of task args for '{action}' failed: Error while resolving value for \
         '{name}': {}", source.message
    )]
    Argument {
        /// The full name of the module.
        action: String,
        name: String,
        source: Box<Error>,
    },
    /// A template that is to give all of them.
    #[error("Task failed: Finalization of task args for '{action}' failed: {}", source.message)]
    Arguments { action: String, source: Box<Error> },
    /// The expression of `debug: var`.
    #[error("Task failed: Error while resolving `var` expression: {}", .0.message)]
    Var(#[source] Error),
    /// `args:` that is a template of something else.
    #[error(
        "Task failed: Finalization of task args for '{action}' failed: Task args must resolve to a 'dict' not '{found}'."
    )]
    NoMapping { action: String, found: String },
    /// A keyword's value.
    #[error(
        "Task failed: Error processing keyword '{name}': The value {value} could not be converted to '{wanted}'."
    )]
    Keyword {
        name: &'static str,
        /// As Python writes it.
        value: String,
        /// `bool`, `int`, `float`.
        wanted: &'static str,
    },
    /// The machine is not there.
    #[error("Failed to connect to the host via ssh: {0}")]
    Unreachable(String),
    /// What a loop goes over.
    #[error("{0}")]
    Unlisted(String),
    /// A `timeout` that no clock takes.
    #[error("Task failed: Timeout {seconds} is invalid, it must be between 0 and {longest}.")]
    Timeout { seconds: i64, longest: i64 },
    /// A fact that no variable can be called.
    #[error("Task failed: Invalid variable name '{0}'.")]
    VariableName(String),
    /// A parameter that is no JSON.
    #[error("Task failed: {0}")]
    Unwritable(String),
    /// A file of the controller's.
    #[error(transparent)]
    File(#[from] FileError),
}

impl TaskError {
    /// Returns what is wrong with a template, if that is it.
    pub(super) fn template(&self) -> Option<&Error> {
        match self {
            Self::Template(error) | Self::Environment(error) | Self::Var(error) => Some(error),
            Self::Argument { source, .. } | Self::Arguments { source, .. } => Some(source),
            Self::Condition(error) => error.template.as_deref(),
            _ => None,
        }
    }

    /// Returns the parameter whose template it is, if it is one's.
    pub(super) fn argument(&self) -> Option<&str> {
        match self {
            Self::Argument { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Returns what is wrong with a keyword's value.
    pub(super) fn keyword(name: &'static str, value: &Value, wanted: &'static str) -> Self {
        Self::Keyword {
            name,
            value: value.repr(),
            wanted,
        }
    }
}

/// Returns an action's own words for what is wrong.
pub(super) fn refused(message: impl Into<String>) -> TaskError {
    TaskError::Refused(message.into())
}

/// A condition that cannot be decided. Where it belongs to a result, Ansible says no more than this.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ConditionError {
    pub(super) message: String,
    /// What is wrong with its template, if that is it.
    pub(super) template: Option<Box<Error>>,
}

impl From<Error> for ConditionError {
    fn from(error: Error) -> Self {
        Self {
            message: error.message.clone(),
            template: Some(Box::new(error)),
        }
    }
}

/// A file that a task wants of the controller and does not get.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is in none of the folders that are searched.
    #[error(
        "Could not find or access '{name}'\nSearched in:\n\t{} on the Ansible Controller.\nIf you are using a \
         module and expect the file to exist on the remote, see the remote_src option",
        tried.join("\n\t")
    )]
    NotFound {
        /// As the task names it.
        name: String,
        /// Where it was looked for, in order.
        tried: Vec<String>,
    },
    /// There is no name to look for.
    #[error(
        "Could not find file on the Ansible Controller.\nIf you are using a module and expect the file to exist on \
         the remote, see the remote_src option"
    )]
    Nameless,
    /// It is there, and nothing in the playbook names it.
    #[error(
        "'{name}' is {}, which is there and was not sent: its name is known only in the run, and such a name is \
         looked for below files, templates, vars, tasks, handlers and in roles; name its folder in the playbook",
        path.display()
    )]
    Withheld {
        /// As the task names it.
        name: String,
        path: PathBuf,
    },
    /// Nothing in the playbook names it, and it lies elsewhere.
    #[error(
        "'{name}' may be {}, which was not sent: its name is known only in the run, and such a name is looked for \
         below files, templates, vars, tasks, handlers and in roles; name its folder in the playbook",
        path.display()
    )]
    Outside {
        /// As the task names it.
        name: String,
        path: PathBuf,
    },
    /// It failed to be read, listed, opened.
    #[error("could not {doing} {}: {source}", path.display())]
    Unreadable {
        /// `read`, `list`, `open`.
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A text that is none.
    #[error("{} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// `assemble` of a file.
    #[error("Source ({}) is not a directory", .0.display())]
    NotAFolder(PathBuf),
}

impl FileError {
    /// Returns what turns an IO error into ours.
    pub(super) fn unreadable(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Unreadable {
            doing,
            path,
            source,
        }
    }
}
