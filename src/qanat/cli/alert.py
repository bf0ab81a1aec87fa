"""`qanat alert …`: rules that tell of what is wrong, and the channels by which they do."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qanat.cli.access import Access
from qanat.cli.command import over_api
from qanat.cli.output import note, print_json, print_rows, read_text, say, tell
from qanat.errors import QanatError

app = typer.Typer(no_args_is_help=True, help="Alerts: rules, what fired, webhooks and mailboxes.")

RuleArgument = Annotated[str, typer.Argument(metavar="RULE", help="Name or id of the rule.")]
ChannelArgument = Annotated[str, typer.Argument(metavar="CHANNEL", help="Name or id of the channel.")]
ChannelsOption = Annotated[
    list[str] | None, typer.Option("--channel", help="Name or id of a channel that tells it; repeat it for more.")
]


@over_api(app, "list", account=True)
def list_(at: Access) -> None:
    """List rules."""
    with at.connect() as client:
        account = at.account_id(client)
        rules = client.alert_rules(account)
        names = {row["id"]: row["name"] for row in client.alert_channels(account)}
    if at.as_json:
        print_json(rules)
        return
    print_rows(
        ("ID", "NAME", "KIND", "SETTINGS", "TOLD BY", "STATE"),
        (
            (
                row["id"],
                row["name"],
                row["kind"],
                ", ".join(f"{name}={value:g}" for name, value in row["settings"].items()),
                ", ".join(names.get(each, each) for each in row["channels"]),
                _state(row),
            )
            for row in sorted(rules, key=lambda row: str(row["name"]))
        ),
        empty="there are no rules; `qanat alert defaults` makes the usual ones",
    )


@over_api(app, "kinds", account=True)
def kinds(at: Access) -> None:
    """List what rules can be about, with their thresholds."""
    with at.connect() as client:
        found = client.alert_kinds(at.account_id(client))
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("KIND", "SETTINGS", "FIRES WHEN"),
        (
            (row["kind"], ", ".join(f"{each['name']}={each['default']:g}" for each in row["settings"]), row["told"])
            for row in found
        ),
        empty="there are none",
    )


@over_api(app, "defaults", account=True)
def defaults(at: Access, channel: ChannelsOption = None) -> None:
    """Make a rule of each usual kind that is missing."""
    with at.connect() as client:
        account = at.account_id(client)
        made = client.create_default_alert_rules(account, _channels(client, account, channel))
    tell(at.output, made, f"made {len(made)} rules" if made else "there is a rule of each usual kind already")


@over_api(app, "add", account=True)
def add(
    at: Access,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="One of `qanat alert kinds`.")],
    name: Annotated[str | None, typer.Option(help="Of the rule; by default the kind's.")] = None,
    channel: ChannelsOption = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=NUMBER, a threshold; repeat it for more.")
    ] = None,
    tunnel: Annotated[str | None, typer.Option(help="Only of this tunnel.")] = None,
    zone: Annotated[str | None, typer.Option(help="Only of hostnames in this zone.")] = None,
    hostname: Annotated[str | None, typer.Option(help="Only of this hostname.")] = None,
    of_edge: Annotated[
        bool, typer.Option("--of-edge", help="Also what is the edge's own; for who edits every account.")
    ] = False,
) -> None:
    """Make a rule."""
    with at.connect() as client:
        account = at.account_id(client)
        rule = {
            "name": name or kind,
            "kind": kind,
            "settings": _settings(setting),
            "tunnel_id": client.find_tunnel(account, tunnel).id if tunnel is not None else None,
            "zone_id": client.find_zone(zone).id if zone is not None else None,
            "hostname": hostname,
            "of_edge": of_edge,
            "channels": _channels(client, account, channel),
        }
        made = client.create_alert_rule(account, rule)
    tell(at.output, made, f"made the rule {made['name']} ({made['id']})")


@over_api(app, "silence", account=True)
def silence(
    at: Access,
    rule: RuleArgument,
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="Such as 30m, 4h or 2d; 0 tells of it again.")
    ] = "1h",
) -> None:
    """Tell nobody of a rule for a time. What still holds then is told at its end."""
    with at.connect() as client:
        account = at.account_id(client)
        found = client.find_alert_rule(account, rule)
        changed = client.silence_alert_rule(account, found["id"], for_s=_seconds(for_))
    until = changed["silenced_until"]
    tell(at.output, changed, f"{changed['name']} is {f'silent until {until}' if until else 'told again'}")


@over_api(app, "delete", account=True)
def delete(at: Access, rule: RuleArgument) -> None:
    """Delete a rule with what fired of it."""
    with at.connect() as client:
        account = at.account_id(client)
        found = client.find_alert_rule(account, rule)
        client.delete_alert_rule(account, found["id"])
    tell(at.output, {"id": found["id"]}, f"deleted the rule {found['name']}")


@over_api(app, "firings", account=True)
def firings(at: Access, is_open: Annotated[bool, typer.Option("--open", help="Only what holds now.")] = False) -> None:
    """List what fired, what holds now first."""
    with at.connect() as client:
        found = client.alert_firings(at.account_id(client), is_open=True if is_open else None)
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("SUBJECT", "SINCE", "UNTIL", "TOLD", "WHY"),
        (
            (row["subject"], row["since"], row["resolved_at"] or "", row["told_at"] or "nobody", row["why"])
            for row in found
        ),
        empty="nothing holds" if is_open else "nothing fired",
    )


@over_api(app, "channels", account=True)
def channels(at: Access) -> None:
    """List channels, and how the last message went."""
    with at.connect() as client:
        found = client.alert_channels(at.account_id(client))
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("ID", "NAME", "TO", "LAST", "WAITING", "DROPPED"),
        (
            (
                row["id"],
                row["name"],
                row["to"].get("place") or ", ".join(row["to"]["recipients"]),
                row["last_error"] or (f"delivered {row['delivered_at']}" if row["delivered_at"] else ""),
                row["waiting"],
                row["dropped"],
            )
            for row in found
        ),
        empty="there are no channels",
    )


@over_api(app, "add-webhook", account=True)
def add_webhook(
    at: Access,
    name: Annotated[str, typer.Argument(help="Of the channel.")],
    url_file: Annotated[
        Path, typer.Option("--url-file", help="A file with the URL, which may be a secret; `-` for standard input.")
    ],
) -> None:
    """Make a webhook, and print the key that signs what it gets."""
    channel = {"name": name, "kind": "webhook", "url": read_text(url_file, where="--url-file").strip()}
    with at.connect() as client:
        made = client.create_alert_channel(at.account_id(client), channel)
    _print_key(at, made, f"made the webhook {made['name']} ({made['id']})")


@over_api(app, "add-email", account=True)
def add_email(
    at: Access,
    name: Annotated[str, typer.Argument(help="Of the channel.")],
    host: Annotated[str, typer.Option(help="SMTP server.")],
    sender: Annotated[str, typer.Option("--from", help="Address of the sender.")],
    to: Annotated[list[str], typer.Option(help="Address of a recipient; repeat it for more.")],
    port: Annotated[int, typer.Option(help="Of the server.")] = 587,
    security: Annotated[str, typer.Option(help="starttls, tls or none.")] = "starttls",
    username: Annotated[str, typer.Option(help="To sign in with.")] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="A file with the password; `-` for standard input.")
    ] = None,
) -> None:
    """Make a mailbox."""
    password = read_text(password_file, where="--password-file").rstrip("\n") if password_file is not None else None
    channel = {
        "name": name,
        "kind": "email",
        "host": host,
        "port": port,
        "security": security,
        "sender": sender,
        "recipients": to,
        "username": username,
        "password": password,
    }
    with at.connect() as client:
        made = client.create_alert_channel(at.account_id(client), channel)
    tell(at.output, made, f"made the mailbox {made['name']} ({made['id']}); try it: qanat alert test {made['name']}")


@over_api(app, "test", account=True)
def test_(at: Access, channel: ChannelArgument) -> None:
    """Send a real message now. Exit status 1 when it was not taken."""
    with at.connect() as client:
        account = at.account_id(client)
        found = client.find_alert_channel(account, channel)
        tested = client.test_alert_channel(account, found["id"])
    if at.as_json:
        print_json(tested)
    elif tested["delivered"]:
        say(f"{found['name']} took it")
    if not tested["delivered"]:
        raise QanatError(tested["code"], tested["error"], where=found["name"])


@over_api(app, "roll-key", account=True)
def roll_key(at: Access, channel: ChannelArgument) -> None:
    """Give a webhook another key, and print it; the one before signs no more."""
    with at.connect() as client:
        account = at.account_id(client)
        found = client.find_alert_channel(account, channel)
        rolled = client.roll_alert_channel_key(account, found["id"])
    _print_key(at, rolled, f"{rolled['name']} has another key")


@over_api(app, "delete-channel", account=True)
def delete_channel(at: Access, channel: ChannelArgument) -> None:
    """Delete a channel with what waits for it; rules name it no more."""
    with at.connect() as client:
        account = at.account_id(client)
        found = client.find_alert_channel(account, channel)
        client.delete_alert_channel(account, found["id"])
    tell(at.output, {"id": found["id"]}, f"deleted the channel {found['name']}")


@over_api(app, "deliveries", account=True)
def deliveries(at: Access) -> None:
    """List messages, newest first: what waits, went out, failed or was dropped."""
    with at.connect() as client:
        found = client.alert_deliveries(at.account_id(client))
    if at.as_json:
        print_json(found)
        return
    print_rows(
        ("WHEN", "MESSAGE", "STATE", "TRIES", "ERROR"),
        (
            (row["finished_at"] or row["created_at"], row["title"], row["state"], row["attempts"], row["error"])
            for row in found
        ),
        empty="nothing was sent",
    )


def _state(row: dict[str, Any]) -> str:
    if not row["enabled"]:
        return "off"
    return f"silent until {row['silenced_until']}" if row["silenced_until"] else "on"


def _channels(client: Any, account: str, names: list[str] | None) -> list[str]:
    return [client.find_alert_channel(account, name)["id"] for name in names or ()]


def _settings(given: list[str] | None) -> dict[str, float]:
    found = {}
    for each in given or ():
        name, _, number = each.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise QanatError("usage", f"{each!r} is not NAME=NUMBER", where="--set") from None
    return found


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    try:
        return float(number) * units[unit]
    except ValueError:
        raise QanatError("usage", f"{text!r} is no time such as 30m, 4h or 2d", where="--for") from None


def _print_key(at: Access, made: dict[str, Any], what: str) -> None:
    """The key alone on standard output, so that it can be handed on as it is."""
    if at.as_json:
        print_json(made)
        return
    note(f"{what}; its key is shown here, and never again:")
    say(made["key"])
