//! `agent-runner manifest --task FILE`: what runs a task document on a platform, as YAML. Secrets are named and never printed.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{ManifestPrintArgs, RunnerFrom};
use crate::inputs::{InputError, InputErrors, read_document, read_input_file};
use crate::manifests::{self, Runner, SecretKey, Wishes};

/// EX_DATAERR of `sysexits.h`.
const WRONG: u8 = 65;

/// Runs the command: 0 if there is something to print, 65 if something is wrong.
#[must_use]
pub fn run(args: &ManifestPrintArgs) -> ExitCode {
    match wishes(args).and_then(|wishes| manifests::print(args.platform, &wishes)) {
        Ok(text) => crate::commands::print(&text),
        Err(errors) => {
            crate::commands::complain(&errors.to_string(), None);
            ExitCode::from(WRONG)
        }
    }
}

fn wishes(args: &ManifestPrintArgs) -> Result<Wishes, InputErrors> {
    let mut errors = Vec::new();
    let task = read_document(&args.task, read_input_file).unwrap_or_else(|problem| {
        let hint = Some("`agent-runner schema task` prints what it may hold".to_owned());
        errors.push(InputError { source: "--task".to_owned(), problem, hint });
        serde_json::Value::Null
    });
    let variables: Vec<_> = args.secret.iter().filter_map(|text| pair("--secret", text, &mut errors)).collect();
    let files: Vec<_> = args.secret_file.iter().filter_map(|text| pair("--secret-file", text, &mut errors)).collect();
    let runner = runner(args).map_err(|error| errors.push(error)).unwrap_or(Runner::Image);
    if !errors.is_empty() {
        return Err(InputErrors::from(errors));
    }
    Ok(Wishes {
        task,
        image: args.image.clone(),
        runner,
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        variables,
        files: files.into_iter().map(|(path, key)| (PathBuf::from(path), key)).collect(),
        mcp_servers_file: args.mcp_servers_file.clone(),
        retries: args.retries,
    })
}

fn runner(args: &ManifestPrintArgs) -> Result<Runner, InputError> {
    let wrong = |problem: &str| InputError {
        source: "--runner-image".to_owned(),
        problem: problem.to_owned(),
        hint: Some("--runner-from init and image-volume take the runner from it; without both, it is in the agent's image".to_owned()),
    };
    match (args.runner_from, args.runner_image.clone()) {
        (None | Some(RunnerFrom::Init), Some(image)) => Ok(Runner::Init(image)),
        (Some(RunnerFrom::ImageVolume), Some(image)) => Ok(Runner::Volume(image)),
        (None | Some(RunnerFrom::Image), None) => Ok(Runner::Image),
        (Some(RunnerFrom::Image), Some(_)) => Err(wrong("is not needed, since the agent's image has the runner")),
        (Some(RunnerFrom::Init | RunnerFrom::ImageVolume), None) => Err(wrong("expected the image that has the runner, got nothing")),
    }
}

/// `WHAT=SECRET/KEY`. The key may not be a value by mistake: neither is quoted where the form is wrong.
fn pair(flag: &str, text: &str, errors: &mut Vec<InputError>) -> Option<(String, SecretKey)> {
    let form = text.split_once('=').and_then(|(what, key)| Some((what, key.split_once('/')?)));
    let Some((what, (secret, key))) = form else {
        let what = if flag == "--secret" { "VARIABLE" } else { "FILE" };
        let hint = Some("a Secret is named here, and never its value".to_owned());
        errors.push(InputError { source: flag.to_owned(), problem: format!("expected {what}=SECRET/KEY"), hint });
        return None;
    };
    Some((what.to_owned(), SecretKey { secret: secret.to_owned(), key: key.to_owned() }))
}
