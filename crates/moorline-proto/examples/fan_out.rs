//! Hands batches to a crowd, for a counter of instructions: `fan_out MEMBERS BATCHES MESSAGES`. No clock, no socket, nothing by
//! chance: two runs count the same. `cargo xtask test --only budgets` holds it against its budget.

#[allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "the tests use it too")]
#[path = "../tests/support/mod.rs"]
mod support;

use support::crowd::Crowd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<u64>, _>>()?;
    let [members, batches, messages] = numbers[..] else {
        return Err("usage: fan_out MEMBERS BATCHES MESSAGES".into());
    };
    let mut crowd = Crowd::new(members);
    for _ in 0..batches {
        let batch = crowd.batch(messages);
        crowd.announce(&batch);
    }
    // One that delivers nothing would be cheap: a greeting and a write for each batch is what each member gets.
    assert_eq!(crowd.sockets.writes, members * (1 + batches), "writes");
    let text_bytes = members * batches * messages * Crowd::TEXT_BYTES as u64;
    assert!(crowd.sockets.bytes > text_bytes, "bytes");
    println!("{} writes, {} bytes", crowd.sockets.writes, crowd.sockets.bytes);
    Ok(())
}
