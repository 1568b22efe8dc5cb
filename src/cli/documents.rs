//! `tidemill completions`, `tidemill man` and docs/cli.md: all written from the definition of the
//! flags.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use super::args::{Arguments, CompletionArgs, ManArgs};
use super::failure::Failure;
use super::output;

/// Prints completions for a shell.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "tidemill", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes the pages of all commands into a folder.
///
/// # Errors
/// When standard output or the folder cannot be written.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    if let Some(folder) = &args.out {
        return write_pages(folder);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command())
        .render(&mut page)
        .map_err(Failure::io("write the manual page"))?;
    output::write(&String::from_utf8_lossy(&page))
}

fn write_pages(folder: &Path) -> Result<(), Failure> {
    let what = format!("write manual pages into {}", folder.display());
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
        .map_err(Failure::io(what))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Command;

    use super::*;

    /// Every command with its path, such as `tidemill dlq list`, in the order of the help.
    fn commands() -> Vec<(String, Command)> {
        fn collect(path: &str, command: &Command, found: &mut Vec<(String, Command)>) {
            let path =
                format!("{path}{}{}", if path.is_empty() { "" } else { " " }, command.get_name());
            let below = command.get_subcommands().filter(|below| below.get_name() != "help");
            found.push((path.clone(), command.clone()));
            below.for_each(|below| collect(&path, below, found));
        }
        let mut found = Vec::new();
        collect("", &Arguments::command(), &mut found);
        found
    }

    /// docs/cli.md: the long help of every command.
    fn markdown() -> String {
        let mut page = "# Commands\n\nGenerated from the definition of the flags; \
                        `tidemill <command> --help` and `tidemill man` say the same.\n"
            .to_owned();
        for (path, command) in commands() {
            let help = command.bin_name(&path).term_width(100).render_long_help().to_string();
            let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
            page.push_str(&format!(
                "\n## {path}\n\n```text\n{}\n```\n",
                lines.join("\n").trim_end()
            ));
        }
        page
    }

    /// `UPDATE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_page_in_docs_says_what_the_help_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == markdown(), "{path} is stale: run the tests once with UPDATE_DOCS=1");
    }

    #[test]
    fn every_command_that_does_something_has_an_example_in_its_help() {
        for (path, command) in commands() {
            if command.has_subcommands() && path != "tidemill" {
                continue;
            }
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{path}: {help}");
            assert!(help.contains("tidemill"), "{path}: {help}");
        }
    }

    #[test]
    fn every_command_has_a_manual_page_and_completions() {
        let folder = tempfile::tempdir().unwrap();
        write_pages(folder.path()).unwrap();
        let pages: BTreeSet<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut script = Vec::new();
        let shell = clap_complete::Shell::Bash;
        clap_complete::generate(shell, &mut Arguments::command(), "tidemill", &mut script);
        let script = String::from_utf8(script).unwrap();
        for (path, _) in commands() {
            let name = path.replace(' ', "-");
            assert!(pages.contains(&format!("{name}.1")), "{name}.1 in {pages:?}");
            let name = path.split(' ').next_back().unwrap_or_default();
            assert!(script.contains(&format!("{name})")), "completions of {path}");
        }
    }
}
