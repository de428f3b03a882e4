//! What a process used, as the kernel counts it.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::AnyError;

/// What one measurement came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) items: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_mib: f64,
    /// How much longer the slowest hundredth took than the middle one; 0 where it was not measured.
    pub(crate) p99_to_p50: f64,
}

impl Figure {
    pub(crate) fn rate(&self) -> f64 {
        self.items / self.seconds
    }

    pub(crate) fn micros(&self) -> f64 {
        self.cpu * 1e6 / self.items
    }
}

/// Measures from here on; peak memory is that of the whole process.
pub(crate) struct Watch {
    began: Instant,
    cpu: f64,
}

impl Watch {
    pub(crate) fn start() -> Result<Self, AnyError> {
        Ok(Self { cpu: cpu()?, began: Instant::now() })
    }

    /// Prints the figure for the parent process.
    pub(crate) fn stop(&self, items: u64) -> Result<(), AnyError> {
        self.stop_with(items, 0.0)
    }

    pub(crate) fn stop_with(&self, items: u64, p99_to_p50: f64) -> Result<(), AnyError> {
        let seconds = self.began.elapsed().as_secs_f64();
        println!("figure {items} {seconds} {} {} {p99_to_p50}", cpu()? - self.cpu, peak_mib()?);
        Ok(())
    }
}

/// CPU seconds of this process so far, in user and kernel mode; the kernel counts in hundredths.
fn cpu() -> Result<f64, AnyError> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn peak_mib() -> Result<f64, AnyError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no VmHWM")?.parse()?;
    Ok(kib / 1024.0)
}

/// Runs a measurement in a process of its own.
pub(crate) fn child(words: &[&str]) -> Result<Figure, AnyError> {
    let output = Command::new(env::current_exe()?).arg("--child").args(words).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("figure "))
        .ok_or_else(|| format!("{words:?} failed: {text}"))?;
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [items, seconds, cpu, peak_mib, p99_to_p50] = numbers[..] else { return Err("odd figure".into()) };
    Ok(Figure { items, seconds, cpu, peak_mib, p99_to_p50 })
}

/// The middle one of several runs, by speed.
pub(crate) fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    figures[figures.len() / 2]
}

/// A server in a process of its own, which ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(words: &[&str]) -> Result<Self, AnyError> {
        let mut process =
            Command::new(env::current_exe()?).arg("--serve").args(words).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { process, url: line.trim().to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
