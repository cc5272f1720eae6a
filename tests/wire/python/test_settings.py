"""A start that must not happen, and what it says."""

import pytest

from server import run_to_end


def refused(settings=None, listen=None, names=None):
    code, said = run_to_end(settings, listen)
    assert code == 2, f"exit code {code}: {said}"
    assert names.lower() in said.lower(), f"{names} is not named: {said}"


@pytest.mark.parametrize("setting", ["heartbeat.intervl_ms", "hartbeat.interval_ms", "heartbeat", "nonsense"])
def test_bad_setting_that_does_not_exist(setting):
    refused({setting: 1000}, names=setting.rsplit(".", 1)[-1] if "intervl" in setting else setting.split(".")[0])


RANGES = {
    "http.head_max_bytes": (1023, 1048577), "http.body_max_bytes": (1023, 67108865),
    "heartbeat.interval_ms": (99, 3600001), "heartbeat.idle_timeout_ms": (0, 86400001),
    "heartbeat.pong_timeout_ms": (99, 86400001), "session.lifetime_ms": (-1, 604800001),
    "session.rooms_max": (0, 10001), "session.per_user_max": (0, 100001),
    "connection.message_max_bytes": (255, 16777217), "compression.threshold_bytes": (63, 16777217),
    "compression.level": (0, 10), "retention.room_records": (0, 1000001),
    "retention.total_bytes": (1048575, 1099511627777), "publish.id_age_ms": (999, 86400001),
    "drain.timeout_ms": (99, 3600001),
}


@pytest.mark.parametrize("setting, value", [(name, value) for name, both in RANGES.items() for value in both])
def test_bad_value_out_of_its_range(setting, value):
    refused({setting: value}, names=setting.split(".")[1])


@pytest.mark.parametrize("value", ["many", "", "1.5", "10s", "0x10"])
def test_bad_value_that_is_no_number(value):
    refused({"heartbeat.interval_ms": value}, names="interval_ms")


@pytest.mark.parametrize("value", ["yes", "1", "", "True"])
def test_bad_value_that_is_neither_true_nor_false(value):
    refused({"compression.enabled": value}, names="true or false")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "192.0.2.1:8080", "[::]:0"])
def test_bad_listen_address_beyond_this_machine(listen):
    refused(listen=listen, names="loopback")


@pytest.mark.parametrize("listen", ["localhost", "127.0.0.1:99999", "127.0.0.1:http", ""])
def test_bad_listen_address_that_is_none(listen):
    refused(listen=listen, names="listen")


def test_r32_every_value_at_the_edge_of_its_range_is_taken(start):
    server = start({
        "heartbeat.interval_ms": 100, "heartbeat.idle_timeout_ms": 86400000, "heartbeat.pong_timeout_ms": 0,
        "session.lifetime_ms": 0, "session.rooms_max": 10000, "connection.message_max_bytes": 256,
        "retention.total_bytes": 1048576, "drain.spread_ms": 0, "session.metadata_max_bytes": 2,
    })
    assert server.get("/readyz") == {"status": "ok"}
