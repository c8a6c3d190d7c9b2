//! What the fold decides, record by record.

mod bed;
mod directory;
mod golden;
mod mailbox;
mod repeats;
mod replay;
