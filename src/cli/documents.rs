//! `tidemill completions` and `tidemill man`: both written from the definition of the flags.

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
