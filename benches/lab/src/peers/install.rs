//! Installs peers from their packages into a separate folder: nchan from Debian, Socket.IO from npm, Centrifuge
//! as a Go module. An installed version is not fetched again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::centrifuge::Centrifuge;
use super::nchan::Nchan;
use super::socket_io::SocketIo;
use crate::Outcome;

const PACKAGES: [&str; 2] = ["nginx", "libnginx-mod-nchan"];
/// The folder that is compiled into Debian's nginx, which writes to it.
const NGINX_STATE: &str = "/var/lib/nginx";

const SCRIPT: &str = include_str!("../../peers/socket.io/server.js");
const SCRIPT_PACKAGES: &str = include_str!("../../peers/socket.io/package.json");
const SCRIPT_LOCK: &str = include_str!("../../peers/socket.io/package-lock.json");

const PROGRAM: &str = include_str!("../../peers/centrifuge/main.go");
const PROGRAM_MODULES: &str = include_str!("../../peers/centrifuge/go.mod");
const PROGRAM_SUMS: &str = include_str!("../../peers/centrifuge/go.sum");

/// The installation of peers.
pub(super) struct Folder<'a> {
    /// The folder, absolute: installers run inside of it.
    pub(super) path: PathBuf,
    /// Called before an installation; without it nothing is installed.
    pub(super) progress: Option<&'a dyn Fn(&str)>,
}

impl Folder<'_> {
    /// nchan, unpacked from Debian's packages of this machine's package index.
    pub(super) fn nchan(&self) -> Outcome<Nchan> {
        let root = self.path.join("nchan");
        if !root.is_dir() {
            self.install("nchan: downloading Debian's packages", &root, |partial| {
                let mut download = Command::new("apt-get");
                run(download.args(["download", "-q"]).args(PACKAGES).current_dir(partial))?;
                for package in fs::read_dir(partial)? {
                    let package = package?.path();
                    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(partial))?;
                }
                Ok(())
            })?;
        }
        fs::create_dir_all(NGINX_STATE).map_err(|error| {
            format!("Debian's nchan needs the folder {NGINX_STATE}, make it as root: {error}")
        })?;
        Nchan::at(&root)
    }

    /// Socket.IO, in the versions of its lock file.
    pub(super) fn socket_io(&self) -> Outcome<SocketIo> {
        let files = [
            ("server.js", SCRIPT),
            ("package.json", SCRIPT_PACKAGES),
            ("package-lock.json", SCRIPT_LOCK),
        ];
        let home = self.path.join("socket.io");
        if !holds(&home, &files) {
            self.install("Socket.IO: installing from npm", &home, |partial| {
                write(partial, &files)?;
                let arguments = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"];
                run(Command::new("npm").args(arguments).current_dir(partial))
            })?;
        }
        let package = fs::read(home.join("node_modules/socket.io/package.json"))?;
        let package: serde_json::Value = serde_json::from_slice(&package)?;
        let version = package["version"].as_str().ok_or("Socket.IO has no version")?;
        Ok(SocketIo { script: home.join("server.js"), version: version.to_owned() })
    }

    /// Centrifuge, in the version of its module file, built here.
    pub(super) fn centrifuge(&self) -> Outcome<Centrifuge> {
        let files = [("main.go", PROGRAM), ("go.mod", PROGRAM_MODULES), ("go.sum", PROGRAM_SUMS)];
        let home = self.path.join("centrifuge");
        if !holds(&home, &files) {
            self.install("Centrifuge: building its Go module, takes minutes", &home, |partial| {
                write(partial, &files)?;
                let mut go = Command::new("go");
                let go = go.args(["build", "-trimpath", "-o", "centrifuge", "."]);
                run(go.env("CGO_ENABLED", "0").current_dir(partial))
            })?;
        }
        let line = PROGRAM_MODULES
            .lines()
            .find_map(|line| line.strip_prefix("require github.com/centrifugal/centrifuge v"));
        let version = line.ok_or("go.mod names no version")?.to_owned();
        Ok(Centrifuge { program: home.join("centrifuge"), version })
    }

    fn install(
        &self,
        what: &str,
        home: &Path,
        fill: impl FnOnce(&Path) -> Outcome<()>,
    ) -> Outcome<()> {
        let Some(progress) = self.progress else {
            return Err("it is not installed".into());
        };
        progress(what);
        whole(home, fill)
    }
}

/// Makes `folder` completely or not at all: it is renamed to its name when it is complete.
fn whole(folder: &Path, fill: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<()> {
    let around = folder.parent().ok_or("no folder")?;
    fs::create_dir_all(around)?;
    let partial = tempfile::Builder::new().prefix("partial-").tempdir_in(around)?;
    fill(partial.path())?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(partial.path(), folder)?;
    Ok(())
}

fn holds(folder: &Path, files: &[(&str, &str)]) -> bool {
    files
        .iter()
        .all(|(name, text)| fs::read_to_string(folder.join(name)).is_ok_and(|held| held == *text))
}

fn write(folder: &Path, files: &[(&str, &str)]) -> Outcome<()> {
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// Runs an installer; its last output is the error if it fails.
fn run(command: &mut Command) -> Outcome<()> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<_> = said.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    let last = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(format!("{} failed: {last}", program.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_pinned_without_a_registry() {
        assert!(SCRIPT_LOCK.contains("\"integrity\""), "packages are pinned");
        assert!(!SCRIPT_LOCK.contains("\"resolved\""), "a URL would fix the registry");
    }

    #[test]
    fn a_folder_that_could_not_be_filled_is_not_there() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("peer");
        let failed = whole(&folder, |partial| {
            fs::write(partial.join("half"), "half")?;
            run(&mut Command::new("false"))
        });
        assert!(failed.expect_err("false fails").to_string().contains("false failed"));
        assert_eq!(fs::read_dir(home.path()).expect("a folder").count(), 0, "nothing is left");
        whole(&folder, |partial| write(partial, &[("a", "1")])).expect("it is filled");
        assert!(holds(&folder, &[("a", "1")]), "what was written");
        assert!(!holds(&folder, &[("a", "2")]), "another version is another text");
    }
}
