//! The build of the program under test. On Linux it is static, as it is shipped, and proves it.

use std::fs;
use std::path::Path;

use crate::job;
use crate::shop::Shop;
use crate::stages::Verdict;

/// The entry of a program's table that names its dynamic loader. A static program has none.
const PT_INTERP: u32 = 3;

/// Builds the server, and looks at what was built.
pub(crate) fn build(shop: &Shop) -> Verdict {
    let built = compile(shop).and_then(|()| match shop.server().is_file() {
        true => check(shop),
        false => Err(format!("the build left no {}", shop.server().display())),
    });
    shop.has_server.set(built.is_ok());
    Verdict::check(built)
}

fn compile(shop: &Shop) -> Result<(), String> {
    job::run(&mut shop.cargo("build --locked --package moorline-server"), job::LIMIT).result()
}

/// The program runs, where it may with nothing but itself to see.
fn check(shop: &Shop) -> Result<(), String> {
    let server = shop.server();
    if !shop.is_static() {
        return job::run(shop.command(&server).arg("--version"), job::LIMIT).result();
    }
    let bytes = fs::read(&server).map_err(|why| format!("{}: {why}", server.display()))?;
    match has_loader(&bytes) {
        None => return Err(format!("{} is no ELF program of 64 bits", server.display())),
        Some(true) => {
            let why = "it asks for a dynamic loader; RUSTFLAGS, where set, wins over the flags that the build needs";
            return Err(format!("{} is not static: {why}", server.display()));
        }
        Some(false) => {}
    }
    match job::run(shop.command("id").arg("-u"), job::LIMIT).stdout.trim() {
        "0" => alone(shop, &server),
        _ => job::run(shop.command(&server).arg("--version"), job::LIMIT).result(),
    }
}

/// Runs it in a root that has nothing else in it.
fn alone(shop: &Shop, server: &Path) -> Result<(), String> {
    let root = shop.tools.join("empty-root");
    let place = |why: std::io::Error| format!("{}: {why}", root.display());
    if root.exists() {
        fs::remove_dir_all(&root).map_err(place)?;
    }
    fs::create_dir_all(&root).map_err(place)?;
    fs::copy(server, root.join("moorline")).map_err(place)?;
    let ran = job::run(shop.command("chroot").arg(&root).args(["/moorline", "--version"]), job::LIMIT);
    fs::remove_dir_all(&root).map_err(place)?;
    ran.result()
}

/// Whether an ELF program of 64 bits, little-endian, names a dynamic loader; `None` where it is no such program.
fn has_loader(elf: &[u8]) -> Option<bool> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(at(elf, 0x20)?)).ok()?;
    let (size, count) = (u16::from_le_bytes(at(elf, 0x36)?), u16::from_le_bytes(at(elf, 0x38)?));
    let kinds = (0..usize::from(count)).map(|index| {
        let entry = table.checked_add(index * usize::from(size))?;
        Some(u32::from_le_bytes(at(elf, entry)?))
    });
    let kinds: Vec<u32> = kinds.collect::<Option<_>>()?;
    (!kinds.is_empty()).then(|| kinds.contains(&PT_INTERP))
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head with a table of these entries.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 0x40];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x20..0x28].copy_from_slice(&0x40_u64.to_le_bytes());
        bytes[0x36..0x38].copy_from_slice(&56_u16.to_le_bytes());
        bytes[0x38..0x3a].copy_from_slice(&u16::try_from(kinds.len()).expect("a few").to_le_bytes());
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        assert_eq!(has_loader(&elf(&[6, 3, 1, 2])), Some(true));
        assert_eq!(has_loader(&elf(&[6, 1, 1, 2])), Some(false));
    }

    #[test]
    fn what_is_no_program_is_not_judged() {
        assert_eq!(has_loader(b"#!/bin/sh\n"), None);
        assert_eq!(has_loader(&elf(&[])), None);
        assert_eq!(has_loader(&elf(&[1, 1])[..0x70]), None);
        assert_eq!(has_loader(&[]), None);
    }
}
