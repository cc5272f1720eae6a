//! Offers and answers of permessage-deflate: the examples of RFC 7692 and each of its rules.

mod common;
#[path = "common/generate.rs"]
#[allow(dead_code, reason = "no streams of a client are drawn here")]
mod generate;

use http::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};
use moorline_ws::{
    deflate::{Agreed, AnswerError, Direction, Parameters, Settings, WindowBits, negotiate},
    frame::Role,
    handshake::HandshakeError,
};
use proptest::prelude::*;

/// The server does as little as it can: it takes over its context, and lets the client.
const TAKEOVER: Settings = Settings {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: WindowBits::MAX,
    client_max_window_bits: WindowBits::MAX,
};

fn bits(bits: u8) -> WindowBits {
    WindowBits::new(bits).expect("the tables hold 8 to 15")
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, line.parse().expect("the table holds header values"));
    }
    headers
}

/// The answer to some header lines, `"-"` where compression is declined.
fn answer(lines: &[&str], settings: &Settings) -> Result<String, HandshakeError> {
    let negotiated = negotiate(&headers(lines), settings)?;
    Ok(negotiated
        .map_or("-".into(), |negotiated| negotiated.answer.to_str().expect("it is plain text").to_owned()))
}

#[test]
fn what_is_answered_when_the_server_wants_nothing() {
    let table: &[(&[&str], &str)] = &[
        // §7.1: the examples.
        (&["permessage-deflate"], "permessage-deflate"),
        (&["permessage-deflate; client_max_window_bits"], "permessage-deflate"),
        (
            &["permessage-deflate; client_max_window_bits; server_max_window_bits=10"],
            "permessage-deflate; server_max_window_bits=9",
        ),
        (
            &["permessage-deflate; server_max_window_bits=10, permessage-deflate; client_max_window_bits"],
            "permessage-deflate; server_max_window_bits=9",
        ),
        // §7.1.1: no context takeover.
        (
            &["permessage-deflate; server_no_context_takeover"],
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            &["permessage-deflate; client_no_context_takeover"],
            "permessage-deflate; client_no_context_takeover",
        ),
        // §7.1.2: windows. An offered limit is confirmed, or lowered to one of the three that are shared.
        (&["permessage-deflate; server_max_window_bits=15"], "permessage-deflate; server_max_window_bits=15"),
        (&["permessage-deflate; server_max_window_bits=14"], "permessage-deflate; server_max_window_bits=12"),
        (&["permessage-deflate; server_max_window_bits=12"], "permessage-deflate; server_max_window_bits=12"),
        (&["permessage-deflate; server_max_window_bits=9"], "permessage-deflate; server_max_window_bits=9"),
        (&["permessage-deflate; server_max_window_bits=8"], "permessage-deflate; server_max_window_bits=8"),
        (&["permessage-deflate; client_max_window_bits=15"], "permessage-deflate"),
        (&["permessage-deflate; client_max_window_bits=8"], "permessage-deflate; client_max_window_bits=8"),
        // Lists, lines, white space, quotes.
        (
            &["permessage-deflate;client_max_window_bits = \"9\""],
            "permessage-deflate; client_max_window_bits=9",
        ),
        (
            &["permessage-deflate; client_max_window_bits=\"\\1\\0\""],
            "permessage-deflate; client_max_window_bits=10",
        ),
        (&[" ,, \tpermessage-deflate\t , "], "permessage-deflate"),
        (&["", "permessage-deflate"], "permessage-deflate"),
        // Others are passed over, whatever they carry.
        (&["x-webkit-deflate-frame; a=\"x\", permessage-deflate"], "permessage-deflate"),
        (&["permessage-bzip2; a; a; b=\"1\"", "permessage-deflate"], "permessage-deflate"),
        (&["Permessage-Deflate"], "-"),
        (&["x-webkit-deflate-frame"], "-"),
        (&[], "-"),
        (&[""], "-"),
    ];
    for (lines, expected) in table {
        assert_eq!(answer(lines, &TAKEOVER).as_deref(), Ok(*expected), "{lines:?}");
    }
}

#[test]
fn an_offer_that_cannot_be_is_declined_and_the_next_one_taken() {
    let offers = [
        "unknown",
        "unknown=1",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=+9",
        "server_max_window_bits=ten",
        "server_max_window_bits=99999999999999999999",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=\"0\"",
        "Server_No_Context_Takeover",
        "client_max_window_bits; unknown",
    ];
    for parameters in offers {
        let offer = format!("permessage-deflate; {parameters}");
        assert_eq!(answer(&[&offer], &TAKEOVER).as_deref(), Ok("-"), "{offer}");
        let offers = format!("{offer}, permessage-deflate; server_no_context_takeover, permessage-deflate");
        let expected = Ok("permessage-deflate; server_no_context_takeover");
        assert_eq!(answer(&[&offers], &TAKEOVER).as_deref(), expected, "{offer}");
    }
}

#[test]
fn what_is_no_list_of_extensions_is_refused() {
    let many = vec!["a"; 17].join(",");
    let long = format!("a{}", "; b".repeat(17));
    let table = [
        "permessage-deflate permessage-deflate",
        "permessage-deflate;",
        "permessage-deflate; ;a",
        "permessage-deflate; =1",
        "permessage-deflate; a=",
        "permessage-deflate; a=\"\"",
        "permessage-deflate; a=\"b",
        "permessage-deflate; a=\"b\\",
        "permessage-deflate; a=\"b c\"",
        "permessage-deflate; a=\"b\"c",
        "permessage-deflate; a=b=c",
        "permessage-deflate; a=b c",
        ";a",
        "=",
        "a/b",
        "\"permessage-deflate\"",
        "permessage-deflaté",
        &many,
        &long,
    ];
    for line in table {
        assert_eq!(answer(&[line], &TAKEOVER), Err(HandshakeError::Extensions), "{line}");
        assert_eq!(Parameters::OFFER.check(&headers(&[line])), Err(AnswerError::Malformed), "{line}");
    }
    assert_eq!(answer(&[&many[2..]], &TAKEOVER).as_deref(), Ok("-"));
    assert_eq!(answer(&[&long[3..]], &TAKEOVER).as_deref(), Ok("-"));
    assert_eq!(HandshakeError::Extensions.status(), 400);
}

#[test]
fn what_the_server_wants_is_in_its_answer() {
    let defaults = Settings::default();
    let small = Settings { server_max_window_bits: bits(13), client_max_window_bits: bits(10), ..TAKEOVER };
    let smallest = Settings { server_max_window_bits: bits(8), ..TAKEOVER };
    let none = "server_no_context_takeover; client_no_context_takeover";
    let table = [
        (defaults, "", none.to_owned()),
        (defaults, "; client_max_window_bits", none.to_owned()),
        (defaults, "; server_max_window_bits=11", format!("{none}; server_max_window_bits=9")),
        (defaults, "; client_max_window_bits=11", format!("{none}; client_max_window_bits=11")),
        (
            small,
            "; client_max_window_bits",
            "server_max_window_bits=12; client_max_window_bits=10".to_owned(),
        ),
        (
            small,
            "; client_max_window_bits=9",
            "server_max_window_bits=12; client_max_window_bits=9".to_owned(),
        ),
        // A client that cannot be limited is to take nothing over, so that no more than was set is kept.
        (small, "", "client_no_context_takeover; server_max_window_bits=12".to_owned()),
        (
            small,
            "; server_max_window_bits=11",
            "client_no_context_takeover; server_max_window_bits=9".to_owned(),
        ),
        (smallest, "", "server_max_window_bits=8".to_owned()),
    ];
    for (settings, offer, expected) in table {
        let answered = answer(&[&format!("permessage-deflate{offer}")], &settings).unwrap();
        assert_eq!(answered, format!("permessage-deflate; {expected}"), "{offer} {settings:?}");
    }
}

#[test]
fn a_client_takes_an_answer_that_fits_its_offer() {
    let direction = |context_takeover, max: u8| Direction { context_takeover, max_window_bits: bits(max) };
    let agreed = |server, client| Ok(Some(Agreed { server, client }));
    let plain = Parameters { client_max_window_bits: None, ..Parameters::OFFER };
    let alone = Parameters { server_no_context_takeover: true, ..plain };
    let small = Parameters { server_max_window_bits: Some(bits(10)), ..plain };
    let hint = Parameters { client_max_window_bits: Some(bits(11)), ..plain };
    let full = direction(true, 15);
    type Row = (Parameters, &'static str, Result<Option<Agreed>, AnswerError>);
    let table: &[Row] = &[
        (plain, "permessage-deflate", agreed(full, full)),
        (plain, "permessage-deflate; server_no_context_takeover", agreed(direction(false, 15), full)),
        (plain, "permessage-deflate; client_no_context_takeover", agreed(full, direction(false, 15))),
        (plain, "permessage-deflate; server_max_window_bits=10", agreed(direction(true, 10), full)),
        (
            Parameters::OFFER,
            "permessage-deflate; client_max_window_bits=10",
            agreed(full, direction(true, 10)),
        ),
        (hint, "permessage-deflate", agreed(full, direction(true, 11))),
        (hint, "permessage-deflate; client_max_window_bits=13", agreed(full, direction(true, 11))),
        (hint, "permessage-deflate; client_max_window_bits=9", agreed(full, direction(true, 9))),
        (small, "permessage-deflate; server_max_window_bits=10", agreed(direction(true, 10), full)),
        (small, "permessage-deflate; server_max_window_bits=8", agreed(direction(true, 8), full)),
        (small, "permessage-deflate; server_max_window_bits=11", Err(AnswerError::Unfit)),
        (small, "permessage-deflate", Err(AnswerError::Unfit)),
        (alone, "permessage-deflate", Err(AnswerError::Unfit)),
        (plain, "permessage-deflate; client_max_window_bits=10", Err(AnswerError::Unfit)),
        (Parameters::OFFER, "permessage-deflate; client_max_window_bits", Err(AnswerError::Parameters)),
        (plain, "permessage-deflate; server_max_window_bits", Err(AnswerError::Parameters)),
        (plain, "permessage-deflate; server_max_window_bits=16", Err(AnswerError::Parameters)),
        (plain, "permessage-deflate; server_no_context_takeover=1", Err(AnswerError::Parameters)),
        (plain, "permessage-deflate; unknown", Err(AnswerError::Parameters)),
        (plain, "permessage-deflate, permessage-deflate", Err(AnswerError::NotOffered)),
        (plain, "permessage-bzip2", Err(AnswerError::NotOffered)),
        (plain, "permessage-deflate, permessage-bzip2", Err(AnswerError::NotOffered)),
        (plain, "", Ok(None)),
    ];
    for (offer, answer, expected) in table {
        assert_eq!(offer.check(&headers(&[answer])), *expected, "{offer}: {answer}");
    }
    assert_eq!(plain.check(&HeaderMap::new()), Ok(None));
}

#[test]
fn frames_are_shared_in_three_groups_at_most() {
    let mut groups: Vec<WindowBits> = (8..=15)
        .map(|max| {
            let offer = Parameters { server_max_window_bits: Some(bits(max)), ..Parameters::OFFER };
            let negotiated =
                negotiate(&headers(&[&offer.to_string()]), &Settings::default()).unwrap().unwrap();
            assert!(negotiated.agreed.server.max_window_bits <= bits(max));
            negotiated.agreed.shared_window(Role::Server).unwrap()
        })
        .collect();
    groups.dedup();
    assert_eq!(groups, [bits(9), bits(12), bits(15)]);
}

fn window_bits() -> impl Strategy<Value = WindowBits> {
    (8u8..=15).prop_map(bits)
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let windows = (prop::option::of(window_bits()), prop::option::of(window_bits()));
    (any::<[bool; 2]>(), windows).prop_map(|([server, client], (server_bits, client_bits))| Parameters {
        server_no_context_takeover: server,
        client_no_context_takeover: client,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<[bool; 2]>(), window_bits(), window_bits()).prop_map(
        |([server, client], server_bits, client_bits)| Settings {
            server_no_context_takeover: server,
            client_no_context_takeover: client,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
        },
    )
}

proptest! {
    #![proptest_config(generate::config(512))]

    #[test]
    fn every_offer_is_accepted_and_both_ends_agree(offer in parameters(), settings in settings()) {
        let request = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, offer.header_value())]);
        let negotiated = negotiate(&request, &settings).unwrap().unwrap();
        let answer = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, negotiated.answer)]);
        let agreed = offer.check(&answer).unwrap().unwrap();
        prop_assert_eq!(agreed.server, negotiated.agreed.server);
        prop_assert_eq!(agreed.client.context_takeover, negotiated.agreed.client.context_takeover);
        prop_assert!(agreed.client.max_window_bits <= negotiated.agreed.client.max_window_bits);
        let kept = negotiated.agreed.client;
        prop_assert!(!kept.context_takeover || kept.max_window_bits <= settings.client_max_window_bits);
    }

    #[test]
    fn any_header_is_judged_without_a_panic(line in "[ -~\\t]{0,80}", wild in "[a;,=\"\\\\ 1]{0,40}") {
        for line in [&line, &wild, &format!("permessage-deflate{wild}")] {
            let headers = headers(&[line]);
            let declined_or_judged = negotiate(&headers, &TAKEOVER);
            prop_assert!(declined_or_judged.is_ok() || declined_or_judged == Err(HandshakeError::Extensions));
            let _verdict = Parameters::OFFER.check(&headers);
        }
    }
}
