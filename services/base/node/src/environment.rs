//! The environment of the process. Nothing else reads it.

/// Returns the variable, or nothing if it is not set.
///
/// # Errors
/// When its value is not text. The value itself is not shown: it may be a secret.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn env(name: &str) -> Result<Option<String>, EnvironmentError> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(EnvironmentError {
            name: name.to_owned(),
        }),
    }
}

/// The variable is set to something that is not text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} is not valid UTF-8")]
pub struct EnvironmentError {
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_set_and_nothing_else() {
        assert!(env("PATH").unwrap().is_some_and(|path| !path.is_empty()));
        assert_eq!(env("ENTENTE_NOT_SET_ANYWHERE"), Ok(None));
    }
}
