//! Lists that the server hands out page by page.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::{ClientError, Server};
use crate::output::{self, Out};
use crate::text;

/// The most that a server puts on one page.
const PAGE_MAX: usize = 1_000;
/// The most that `--all` gathers.
const ALL_MAX: usize = 100_000;

/// How much of a list.
#[derive(Debug, clap::Args)]
pub(super) struct PageArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// All of them, up to 100,000
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// The pages that were read, as one.
pub(super) struct Pages {
    /// What the list is called, in the path and in the answer.
    name: &'static str,
    items: Vec<Box<RawValue>>,
    /// Where the rest begins; none where there is no rest.
    next: Option<String>,
}

impl Pages {
    pub(super) async fn read(
        server: &Server,
        name: &'static str,
        query: Vec<(&'static str, String)>,
        arguments: &PageArgs,
    ) -> Result<Self, ClientError> {
        let mut pages = Self { name, items: Vec::new(), next: None };
        let limit = if arguments.all { PAGE_MAX } else { usize::from(arguments.limit) };
        loop {
            let mut query = query.clone();
            query.push(("limit", limit.to_string()));
            query.extend(pages.next.take().map(|cursor| ("cursor", cursor)));
            let answer = server.read(&["v1", name], &query).await?;
            pages.add(server, &answer)?;
            let is_done = pages.next.is_none() || !arguments.all || pages.items.len() >= ALL_MAX;
            if is_done {
                return Ok(pages);
            }
        }
    }

    fn add(&mut self, server: &Server, answer: &str) -> Result<(), ClientError> {
        let mut page: std::collections::HashMap<String, Box<RawValue>> = server.parse(answer)?;
        let list = page.remove(self.name).unwrap_or_default();
        let items: Vec<Box<RawValue>> = server.parse(list.get())?;
        self.next = match page.get("next") {
            Some(next) => server.parse(next.get())?,
            None => None,
        };
        self.items.extend(items);
        Ok(())
    }

    /// The list's items, read.
    pub(super) fn items<T: DeserializeOwned>(&self, server: &Server) -> Result<Vec<T>, ClientError> {
        self.items.iter().map(|item| server.parse(item.get())).collect()
    }

    /// Writes the list as the server would on one page: `next` says where the rest begins.
    pub(super) fn json(&self, out: &mut Out) -> anyhow::Result<()> {
        let items: Vec<String> = self.items.iter().map(|item| text::compact(item.get())).collect();
        let next = text::compact(&Value::from(self.next.clone()).to_string());
        out.line(format_args!("{{\"{}\":[{}],\"next\":{next}}}", self.name, items.join(",")))
    }

    /// A list that was cut off is not taken for the whole.
    pub(super) fn say_whether_more(&self) {
        if self.next.is_some() {
            output::say(format_args!(
                "these are the first {}; there are more (--all, --limit)",
                self.items.len()
            ));
        }
    }
}
