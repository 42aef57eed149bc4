//! What a load run did, slice by slice, for whoever looks for gaps.

use anyhow::Context;
use lab::load::Progress;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a line for each slice of a run; nothing where no file was asked for.
pub(crate) struct Timeline {
    file: Option<(PathBuf, BufWriter<File>)>,
    before: Progress,
    wrong: Option<io::Error>,
}

impl Timeline {
    pub(crate) fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            let file = File::create(path)
                .with_context(|| format!("--timeline {}: expected a file to write", path.display()))?;
            anyhow::Ok((path.to_path_buf(), BufWriter::new(file)))
        };
        Ok(Self { file: path.map(create).transpose()?, before: Progress::default(), wrong: None })
    }

    /// What happened since the last time. A disk that is full ends the timeline, not the run.
    pub(crate) fn write(&mut self, at: &Progress) {
        let Some((_, file)) = &mut self.file else { return };
        if at.preparing || self.wrong.is_some() {
            return;
        }
        let before = std::mem::replace(&mut self.before, *at);
        let line = serde_json::json!({
            "at": jiff::Timestamp::now().to_string(),
            "t_s": at.elapsed.as_secs_f64(),
            "started": at.started - before.started,
            "reached": at.reached - before.reached,
            "succeeded": at.succeeded - before.succeeded,
            "failed": at.failed - before.failed,
            "retransmissions": at.retransmissions - before.retransmissions,
            "retried": at.retried - before.retried,
            "in_flight": at.in_flight,
        });
        self.wrong = writeln!(file, "{line}").err();
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Some((path, mut file)) = self.file else { return Ok(()) };
        let written = self.wrong.map_or_else(|| file.flush(), Err);
        written.with_context(|| format!("--timeline {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_tells_what_happened_since_the_one_before() {
        let path = std::env::temp_dir().join(format!("rollcall-timeline-{}", std::process::id()));
        let mut timeline = Timeline::create(Some(&path)).unwrap();
        timeline.write(&Progress { preparing: true, succeeded: 9, ..Progress::default() });
        timeline.write(&Progress { started: 10, succeeded: 8, ..Progress::default() });
        timeline.write(&Progress {
            started: 30,
            succeeded: 20,
            failed: 1,
            retried: 4,
            ..Progress::default()
        });
        timeline.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |name: &str| lines.iter().map(|line| line[name].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!((of("started"), of("succeeded")), (vec![10, 20], vec![8, 12]));
        assert_eq!((of("failed"), of("retried")), (vec![0, 1], vec![0, 4]));
        let refused = Timeline::create(Some(Path::new("/nowhere/at/all"))).err().unwrap().to_string();
        assert!(refused.contains("--timeline /nowhere/at/all"), "{refused}");
    }
}
