//! [`ReplayOutput`]: where the records go that a replay makes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use tidemill::config::ExchangeTopics;
use tidemill_topology::node::Outgoing;

use super::failure::Failure;
use super::record_lines::{Values, write_record};

const BUFFER_BYTES: usize = 1 << 18;

/// One sink topic of the exchange.
struct Sink {
    topic: String,
    values: Values,
    records: u64,
    file: Option<BufWriter<File>>,
}

/// Counts the records of each sink topic, and writes them: each topic into a file of its own, or
/// the trades to standard output.
pub struct ReplayOutput {
    sinks: Vec<Sink>,
    trades: String,
    folder: Option<PathBuf>,
    stdout: BufWriter<Stdout>,
}

impl ReplayOutput {
    /// Makes the folder and its files, empty; without a folder trades go to standard output.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(topics: &ExchangeTopics, folder: Option<&Path>) -> Result<Self, Failure> {
        if let Some(folder) = folder {
            let what = format!("make the folder {}", folder.display());
            fs::create_dir_all(folder).map_err(Failure::io(what))?;
        }
        let sinks = [
            (&topics.trades, Values::Json),
            (&topics.order_updates, Values::Json),
            (&topics.candles, Values::Json),
            (&topics.positions, Values::Json),
            (&topics.orders_dlq, Values::AnyBytes),
        ];
        let open = |(topic, values): (&String, Values)| {
            let file = folder.map(|folder| create(&folder.join(format!("{topic}.jsonl"))));
            Ok(Sink { topic: topic.clone(), values, records: 0, file: file.transpose()? })
        };
        Ok(Self {
            sinks: sinks.into_iter().map(open).collect::<Result<_, Failure>>()?,
            trades: topics.trades.clone(),
            folder: folder.map(Path::to_owned),
            stdout: BufWriter::with_capacity(BUFFER_BYTES, io::stdout()),
        })
    }

    /// Takes a record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn take(&mut self, record: &Outgoing<'_>) -> io::Result<()> {
        let Some(sink) = self.sinks.iter_mut().find(|sink| sink.topic == *record.topic.name) else {
            return Ok(());
        };
        sink.records += 1;
        if let Some(file) = &mut sink.file {
            return write_record(record, sink.values, file);
        }
        match record.value {
            Some(value) if sink.topic == self.trades => {
                self.stdout.write_all(value)?;
                self.stdout.write_all(b"\n")
            }
            _ => Ok(()),
        }
    }

    /// Writes a file beside those of the topics; nothing without a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_beside(&self, name: &str, text: &str) -> Result<(), Failure> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let path = folder.join(name);
        fs::write(&path, text).map_err(Failure::io(format!("write {}", path.display())))
    }

    /// Writes what is still buffered. Says how many records each topic got.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<Vec<(String, u64)>, Failure> {
        for sink in &mut self.sinks {
            if let Some(file) = &mut sink.file {
                let what = format!("write the records of {}", sink.topic);
                file.flush().map_err(Failure::io(what))?;
            }
        }
        self.stdout.flush().map_err(Failure::io("write to standard output"))?;
        Ok(self.sinks.into_iter().map(|sink| (sink.topic, sink.records)).collect())
    }
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    let file = File::create(path).map_err(Failure::io(format!("create {}", path.display())))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
}
