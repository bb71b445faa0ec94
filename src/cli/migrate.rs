//! `hookonce migrate`: the database's tables.

use super::output::{Grid, count};
use super::{Failure, Global, Output};
use crate::store::migrate;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Apply what is missing.
    Up,
    /// Take the last migrations back; their tables are dropped with all that they hold.
    Down {
        /// How many
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
        /// Only say which
        #[arg(long)]
        dry_run: bool,
    },
    /// Which are applied.
    Status,
}

pub(super) async fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    let settings = global.load()?.config.store;
    match verb {
        Verb::Up => {
            migrate::up(&settings).await?;
            output.say("the database is up to date");
        }
        Verb::Down { steps, dry_run } => {
            let applied = migrate::status(&settings).await?;
            let mut last: Vec<migrate::Step> =
                applied.into_iter().filter(|step| step.applied).rev().collect();
            last.truncate(usize::try_from(steps).unwrap_or(usize::MAX));
            if dry_run || last.is_empty() {
                return output.list(&last, None, grid);
            }
            let names: Vec<&str> = last.iter().map(|step| step.name.as_str()).collect();
            let question = format!(
                "take back {} ({}) and drop their tables with all events?",
                count(last.len(), "migration"),
                names.join(", ")
            );
            output.insist(&question, global.yes())?;
            migrate::down(&settings, steps).await?;
            output.say(&format!("took back {}", names.join(", ")));
        }
        Verb::Status => return output.list(&migrate::status(&settings).await?, None, grid),
    }
    Ok(())
}

fn grid(steps: &[migrate::Step]) -> Grid {
    let mut grid = Grid::new(["MIGRATION", "APPLIED"]);
    for step in steps {
        grid.row([step.name.clone(), if step.applied { "yes" } else { "no" }.to_owned()]);
    }
    grid
}
