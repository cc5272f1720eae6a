//! Places for connections that are being accepted or speak HTTP: few, so that nobody takes every descriptor from those
//! who are served. Whoever was upgraded needs none: the node has limits of its own for those.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use crate::app::Mode;
use crate::settings::Settings;

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most {
    /// Together.
    all: usize,
    /// For one address, an IPv6 /64.
    of_address: usize,
}

impl Most {
    /// What the settings say, where so many descriptors allow it: half of them are for those who were upgraded. When serving,
    /// nobody gets more than a quarter of the places; in development one machine plays all clients.
    pub(crate) fn of(settings: &Settings, mode: Mode, descriptors: Option<u64>) -> Self {
        let half = descriptors.and_then(|most| usize::try_from(most / 2).ok()).unwrap_or(usize::MAX);
        let all = settings.http_connections_max.min(half).max(1);
        let share = if mode == Mode::Serving { (all / 4).max(1) } else { all };
        Self { all, of_address: settings.address_http_connections_max.min(share) }
    }

    /// Logs where the settings say more.
    pub(crate) fn tell(self, settings: &Settings) {
        let (all, of_address) = (self.all, self.of_address);
        if all < settings.http_connections_max || of_address < settings.address_http_connections_max {
            tracing::warn!(
                all,
                of_address,
                "fewer HTTP connections than limits.http_connections_max and limits.address_http_connections_max say: half of the files may be, and a quarter of those of one address; raise the limit (LimitNOFILE, ulimit -n) or lower the settings"
            );
        }
    }
}

/// The places, and who has them.
#[derive(Debug)]
pub(super) struct Places {
    most: Most,
    /// Many clients come from these: their number is not limited by address.
    proxies: Vec<IpNet>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    /// None for a trusted proxy.
    address: Option<IpAddr>,
}

/// The setting that has no more places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full(pub(super) &'static str);

impl Places {
    pub(super) fn new(most: Most, proxies: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { most, proxies, taken: Mutex::default() })
    }

    /// One more of that address.
    ///
    /// # Errors
    /// Which limit it would cross.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = address.to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(&address));
        let address = (!is_proxy).then(|| network(address));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.most.all {
            return Err(Full("limits.http_connections_max"));
        }
        if let Some(address) = address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= self.most.of_address {
                return Err(Full("limits.address_http_connections_max"));
            }
            *count += 1;
        }
        taken.all += 1;
        Ok(Place { of: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(address) = self.address
            && let Some(count) = taken.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// What one client is known to have: an IPv6 host has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

#[cfg(test)]
impl Most {
    pub(super) const fn new(all: usize, of_address: usize) -> Self {
        Self { all, of_address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    fn of(mode: Mode, descriptors: Option<u64>) -> (usize, usize) {
        let sources = Sources::new(mode, None);
        let most = Most::of(&sources.look().unwrap().settings, mode, descriptors);
        (most.all, most.of_address)
    }

    #[test]
    fn there_are_as_many_as_the_settings_say_and_the_descriptors_allow() {
        for (descriptors, all, serving, development) in [
            (None, 8192, 256, 8192),
            (Some(1_048_576), 8192, 256, 8192),
            (Some(u64::MAX), 8192, 256, 8192),
            (Some(1024), 512, 128, 512),
            (Some(200), 100, 25, 100),
            (Some(2), 1, 1, 1),
            (Some(0), 1, 1, 1),
        ] {
            assert_eq!(of(Mode::Serving, descriptors), (all, serving), "{descriptors:?}");
            assert_eq!(of(Mode::Development, descriptors), (all, development), "{descriptors:?}");
        }
    }

    #[test]
    fn an_address_has_its_share_and_gives_it_back() {
        let places = Places::new(Most { all: 5, of_address: 2 }, vec!["10.0.0.0/8".parse().unwrap()]);
        let take = |address: &str| places.take(address.parse().unwrap());
        let mut held = vec![take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap()];
        let of_address = Full("limits.address_http_connections_max");
        assert_eq!(take("192.0.2.1").unwrap_err(), of_address);
        held.extend([take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap()]);
        assert_eq!(take("2001:db8::3").unwrap_err(), of_address);
        held.push(take("192.0.2.2").unwrap());
        assert_eq!(take("2001:db8:0:1::1").unwrap_err(), Full("limits.http_connections_max"));
        held.clear();
        // A proxy may have all of them, and no more.
        held.extend((0..5).map(|_| take("10.1.2.3").unwrap()));
        assert_eq!(take("10.1.2.3").unwrap_err(), Full("limits.http_connections_max"));
        held.clear();
        let taken = places.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.by_address.is_empty());
    }
}
