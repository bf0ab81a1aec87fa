from pathlib import Path

import pytest

from qanat.defaults import default_data_dir
from qanat.errors import QanatError
from qanat.settings import EdgeSettings, every_setting, load_edge_settings


def _refusal(**arguments: object) -> QanatError:
    with pytest.raises(QanatError) as refused:
        load_edge_settings(**arguments)  # type: ignore[arg-type]
    assert refused.value.code == "settings_invalid"
    return refused.value


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('location = "fra"\ngrace_period_s = 5\n[public]\nhttps = "[::1]:1"\nhttp = "[::1]:2"\n')
    monkeypatch.setenv("QANAT_LOCATION", "ams")
    monkeypatch.setenv("QANAT_PUBLIC__HTTPS", "127.0.0.1:3")
    settings = load_edge_settings(file=file, flags={"location": "muc", "public.http": None})
    assert settings.location == "muc"
    assert settings.grace_period_s == 5
    assert (settings.public.https, settings.public.http) == ("127.0.0.1:3", "[::1]:2")
    assert settings.public.http_mode == "redirect"


def test_the_clis_own_variables_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANAT_API", "http://127.0.0.1:1/client/v4")
    monkeypatch.setenv("QANAT_API_TOKEN", "x")
    monkeypatch.setenv("QANAT_TEST_CLOUDFLARED", "/x")
    assert isinstance(load_edge_settings(), EdgeSettings)


def test_given_certificates_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('[[tls.certificates]]\nchain = "/a.pem"\nkey = "/a.key"\n')
    (given,) = load_edge_settings(file=file).tls.certificates
    assert (given.chain, given.key) == (Path("/a.pem"), Path("/a.key"))


@pytest.mark.parametrize("off", ["off", ""])
def test_a_listener_can_be_switched_off(off: str) -> None:
    assert load_edge_settings(flags={"public.http": off}).public.http is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("public.https", "8443"),
        ("public.https", "127.0.0.1:"),
        ("public.https", "127.0.0.1:65536"),
        ("public.https", ":8443"),
        ("public.https", "::1:8443"),
        ("public.http_mode", "proxy"),
        ("tunnel.address", "off"),
        ("location", "Frankfurt am Main"),
        ("limits.header_bytes", 1),
        ("limits.response_timeout_s", 0),
        ("grace_period_s", -1),
        ("log.level", "loud"),
        ("public.htps", "127.0.0.1:1"),
        ("nonsense", 1),
    ],
)
def test_a_bad_value_is_refused_by_name(key: str, value: object) -> None:
    assert _refusal(flags={key: value}).where == key


def test_a_bad_environment_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANAT_LIMITS__CONNECTIONS", "many")
    assert _refusal().where == "limits.connections"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://qanat:s3cret@db.test/qanat",
        "postgresql://qanat:s3cret@[::1],[::2]:5433/qanat",
        "postgresql://qanat:s3cret@one.test,[::1]:5433/qanat",
        "postgresql://db.test/qanat?sslmode=require&password=s3cret",
        "postgres:///qanat?password=s3cret",
        "postgresql://qanat:s3cret?@db.test/qanat",
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_shown(url: str) -> None:
    refusal = _refusal(flags={"store.url": url})
    assert refusal.where == "store.url"
    assert "s3cret" not in str(refusal)


@pytest.mark.parametrize("url", ["postgresql://qanat@one.test:5432,[::1]:5433/qanat", "postgresql://[::1/qanat"])
def test_a_database_url_without_a_password_is_taken_as_it_is(url: str) -> None:
    assert load_edge_settings(flags={"store.url": url}).store.url == url


def test_half_a_tunnel_certificate_is_refused() -> None:
    assert _refusal(flags={"tls.tunnel_chain": "/x.pem"}).where == "tls.tunnel_chain"


@pytest.mark.parametrize("content", ["= 1", "[public\n", 'location = "\ud800"'])
def test_what_is_not_toml_is_refused_with_the_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(content, errors="surrogatepass")
    assert _refusal(file=file).where == str(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert _refusal(file=tmp_path / "none.toml").where == str(tmp_path / "none.toml")


def test_settings_are_frozen() -> None:
    settings = load_edge_settings()
    for change in (settings, settings.public):
        with pytest.raises(ValueError, match="frozen"):
            setattr(change, next(iter(type(change).model_fields)), "x")


def test_every_setting_is_described() -> None:
    settings = list(every_setting())
    assert len(settings) > 30
    for setting in settings:
        assert setting.description.endswith("."), setting.key
    assert len({setting.flag for setting in settings}) == len(settings)
    assert default_data_dir().is_absolute()


def test_the_control_hostname_is_a_name_and_needs_a_listener() -> None:
    assert load_edge_settings(flags={"control.hostname": "API.Example.test."}).control.hostname == "api.example.test"
    assert load_edge_settings(flags={"control.hostname": "bücher.test"}).control.hostname == "xn--bcher-kva.test"
    assert load_edge_settings(flags={"control.hostname": "off"}).control.hostname is None
    for bad in ("api", "*.example.test", "https://api.example.test", "api.example.test:443", "192.0.2.1", "a b.test"):
        assert _refusal(flags={"control.hostname": bad}).where == "control.hostname", bad
    for taken in ({"public.https": "off"}, {"public.management_hostname": "api.example.test"}):
        refused = _refusal(flags={"control.hostname": "api.example.test", **taken})
        assert (refused.code, refused.where) == ("settings_invalid", "control.hostname")
