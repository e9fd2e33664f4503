//! The libraries that a package takes along: shared ones of a program, the jar of the JVM's SDK.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};

use super::files::cannot_read;
use super::kind::has;
use crate::console::usage;

/// Parts of glibc, which come with the system below and have to fit its loader.
const GLIBC: [&str; 9] = [
    "ld-linux",
    "linux-vdso",
    "libc.so",
    "libm.so",
    "libdl.so",
    "librt.so",
    "libpthread.so",
    "libresolv.so",
    "libutil.so",
];

/// The shared libraries of a program beyond glibc, as the loader finds them here.
pub(crate) fn of_program(program: &Path) -> Result<Vec<PathBuf>> {
    let ldd = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| {
            usage(anyhow!(
                "cannot start ldd, which tells what a program needs: {error}"
            ))
        })?;
    listed(&String::from_utf8_lossy(&ldd.stdout)).map_err(|lacking| {
        usage(anyhow!(
            "{} needs {lacking}, which is not found: install it, or name its folder in LD_LIBRARY_PATH",
            program.display()
        ))
    })
}

/// The paths of what `ldd` prints; the name of what it did not find.
fn listed(text: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((name, place)) = line.trim().split_once(" => ") else {
            continue;
        };
        if place == "not found" {
            return Err(name.to_owned());
        }
        if !GLIBC.iter().any(|part| name.starts_with(part)) {
            found.push(PathBuf::from(place.split(" (").next().unwrap_or(place)));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a jar is the SDK's, with the native library for this machine.
pub(crate) fn check_sdk_jar(jar: &Path) -> Result<()> {
    let native = format!("skysail/native/linux-{}/", std::env::consts::ARCH);
    let bytes = std::fs::read(jar).map_err(|error| cannot_read(jar, &error))?;
    let jar = jar.display();
    // The names of its files stand in a jar as they are.
    if !has(&bytes, b"skysail/Skysail.class") {
        return Err(usage(anyhow!(
            "{jar} is not the SDK's jar: name that with --sdk-jar (docs/guides/jvm.md)"
        )));
    }
    if !has(&bytes, native.as_bytes()) {
        return Err(usage(anyhow!(
            "{jar} has no {native}: build it on such a machine, by container-sdk/jvm/build"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_finds_is_taken_but_for_glibc() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibskysail.so.1 => /opt/lib/libskysail.so.1 (0x00007f01)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f03)\n";
        assert_eq!(listed(text), Ok(vec!["/opt/lib/libskysail.so.1".into()]));
        let lacking = "\tlibskysail.so.1 => not found\n";
        assert_eq!(listed(lacking), Err("libskysail.so.1".to_owned()));
        assert_eq!(listed("\tstatically linked\n"), Ok(vec![]));
    }
}
