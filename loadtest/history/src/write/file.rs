//! Blocks of lines on the disk: compressed, sealed, and cut back when a write fails halfway.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::line::{Header, Seal};

/// What takes the bytes: a file, or a test's.
pub(super) trait Sink: Write + Send + 'static {
    /// Shortens what was written to a length.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// A file that is only ever appended to, or cut.
#[derive(Debug)]
pub(super) struct Disk(File);

/// The level costs about a third of what writing the lines does, and shrinks them to an eighth.
const LEVEL: i32 = 1;

/// Writes whole blocks, each a zstd frame of its own if compressed, so that a file can be read up to
/// the last block that was written whole.
#[derive(Debug)]
pub(super) struct Blocks<S> {
    sink: S,
    compress: bool,
    /// Bytes in the sink that are known to be whole.
    length: u64,
    lines: u64,
    sum: u32,
}

impl Disk {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        // Appending, so that after a cut the next write goes to the new end.
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)?;
        Ok(Self(file))
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Disk {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

impl<S: Sink> Blocks<S> {
    pub(super) fn begin(sink: S, header: &Header, compress: bool) -> io::Result<Self> {
        let mut blocks = Self {
            sink,
            compress,
            length: 0,
            lines: 0,
            sum: 0,
        };
        let mut first = serde_json::to_vec(header)?;
        first.push(b'\n');
        blocks.put(&first, 1)?;
        Ok(blocks)
    }

    /// Appends lines and the mark behind them.
    pub(super) fn write(&mut self, bytes: &[u8], lines: u64) -> io::Result<()> {
        let mark = Seal::Mark {
            lines: self.lines + lines,
            sum: crc32c::crc32c_append(self.sum, bytes),
        };
        let mut block = Vec::with_capacity(bytes.len() + 64);
        block.extend_from_slice(bytes);
        serde_json::to_writer(&mut block, &mark)?;
        block.push(b'\n');
        self.put(&block, lines + 1)
    }

    /// The file is whole.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.seal(&Seal::End {
            lines: self.lines,
            sum: self.sum,
        })
    }

    /// The file is not whole. Needs little room, and the cut before gave some back.
    pub(super) fn truncated(&mut self, lost: u64, reason: String) -> io::Result<()> {
        self.seal(&Seal::Truncated {
            lines: self.lines,
            sum: self.sum,
            lost,
            reason,
        })
    }

    fn seal(&mut self, seal: &Seal) -> io::Result<()> {
        let mut line = serde_json::to_vec(seal)?;
        line.push(b'\n');
        self.put(&line, 1)
    }

    fn put(&mut self, bytes: &[u8], lines: u64) -> io::Result<()> {
        let packed;
        let out = if self.compress {
            packed = zstd::bulk::compress(bytes, LEVEL)?;
            packed.as_slice()
        } else {
            bytes
        };
        if let Err(error) = self.sink.write_all(out) {
            self.sink.cut(self.length)?;
            return Err(error);
        }
        self.length += u64::try_from(out.len()).unwrap_or(u64::MAX);
        self.lines += lines;
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        Ok(())
    }
}
