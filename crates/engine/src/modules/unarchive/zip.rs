//! Zip files, by `unzip` and its `zipinfo`.

use std::path::Path;

use super::Job;
use crate::module::{Context, Failure};
use crate::run_command::{Command, bin_path};

/// Returns the program and the files in the archive, or why it cannot be handled.
pub(super) fn list(
    job: &Job<'_>,
    context: &mut Context<'_>,
) -> Result<(String, Vec<String>), String> {
    if !is_zip(&job.src) {
        return Err(format!("'{}' is not a zip file", job.src.display()));
    }
    let find = |name: &str| {
        let path = bin_path(name, context).map(|path| path.to_string_lossy().into_owned());
        path.ok_or_else(|| format!("Unable to find required '{name}' binary in the path."))
    };
    let (program, info) = (find("unzip")?, find("zipinfo")?);
    let command = Command::new([info.as_str(), "-1", &job.src.to_string_lossy()]).parsable();
    let ran = command.run(context).map_err(|e| e.to_string())?;
    if ran.rc != 0 {
        return Err(format!(
            "Command \"{program}\" could not handle archive: {}",
            ran.stderr
        ));
    }
    Ok((program, ran.stdout.lines().map(str::to_owned).collect()))
}

/// Looks for the signature of a first or only record.
fn is_zip(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
    read.is_ok() && (start == *b"PK\x03\x04" || start == *b"PK\x05\x06")
}

/// Compares every file with what `unzip` would write: content by checksum through `unzip -p`
/// would read everything twice, so size and CRC come from the listing.
pub(super) fn is_unpacked(
    job: &Job<'_>,
    program: &str,
    context: &mut Context<'_>,
) -> Result<bool, Failure> {
    let src = job.src.to_string_lossy();
    let command = Command::new([program, "-v", &src]).parsable();
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    let entries = ran.stdout.lines().filter_map(entry);
    for (size, crc, name) in entries.filter(|(_, _, name)| wanted(job, name)) {
        let path = job.dest.join(name);
        let same = match std::fs::metadata(&path) {
            Ok(meta) if name.ends_with('/') => meta.is_dir(),
            Ok(meta) => meta.len() == size && crc32(&path) == Some(crc),
            Err(_) => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a line of `unzip -v`: length, method, size, ratio, date, time, CRC, name.
fn entry(line: &str) -> Option<(u64, u32, &str)> {
    let mut rest = line.trim_start();
    let mut fields = [""; 7];
    for field in &mut fields {
        let (word, more) = rest.split_once(char::is_whitespace)?;
        *field = word;
        rest = more.trim_start();
    }
    let crc = Some(fields[6]).filter(|crc| crc.len() == 8)?;
    Some((
        fields[0].parse().ok()?,
        u32::from_str_radix(crc, 16).ok()?,
        rest,
    ))
}

fn wanted(job: &Job<'_>, name: &str) -> bool {
    let (include, exclude) = (job.args.list("include"), job.args.list("exclude"));
    let any = |patterns: &[&str]| {
        patterns
            .iter()
            .any(|p| crate::modules::find::fnmatch(p, name))
    };
    (include.is_empty() || any(&include)) && !any(&exclude)
}

fn crc32(path: &Path) -> Option<u32> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut crc = flate2::Crc::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).ok()? {
            0 => return Some(crc.sum()),
            read => crc.update(&buffer[..read]),
        }
    }
}

/// Returns the command that unpacks.
pub(super) fn extract_argv(job: &Job<'_>, program: &str) -> Vec<String> {
    let list = |name: &str| job.args.list(name).into_iter().map(str::to_owned);
    let mut argv = vec![program.to_owned(), "-o".to_owned()];
    argv.extend(list("extra_opts"));
    argv.push(job.src.to_string_lossy().into_owned());
    if !job.args.list("exclude").is_empty() {
        argv.push("-x".to_owned());
        argv.extend(list("exclude"));
    }
    argv.extend(list("include"));
    argv.push("-d".to_owned());
    argv.push(job.dest.to_string_lossy().into_owned());
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_unzips_listing_is_read() {
        let line = "       3  Stored        3   0% 2020-01-01 00:00 352441c2  a b.txt";
        assert_eq!(entry(line), Some((3, 0x3524_41c2, "a b.txt")));
        assert_eq!(
            entry("--------          -------  ---                            -------"),
            None
        );
    }
}
