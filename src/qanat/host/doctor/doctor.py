"""All checks, in the order in which one depends on another."""

from collections.abc import Mapping, Sequence

from qanat.host.doctor import edges, host, origins
from qanat.host.doctor.findings import Finding
from qanat.host.doctor.subject import Subject, subject_of
from qanat.host.machine import Machine
from qanat.host.service.manager import manager_of


def examine(machine: Machine, arguments: Sequence[str], environment: Mapping[str, str]) -> list[Finding]:
    """What `tunnel run ARGUMENTS` would meet here, or the installed service. Takes some seconds where nothing answers."""
    manager = manager_of(machine)
    subject = subject_of(machine, arguments, environment)
    findings = [host.clock(machine), *_settings(subject), *host.secret_files(machine)]
    told, ready = host.service(machine, manager, installed=manager.installed())
    findings += told
    if subject.options is not None:
        findings += edges.check(subject.options)
    findings += host.buffers()
    rules = origins.pushed_rules(ready.address) if ready is not None and subject.from_service else None
    if rules is None and subject.options is not None and subject.options.local is not None:
        local = subject.options.local.rules
        rules = [(f"{rule.hostname or ''}{rule.path or ''}", rule.service.text) for rule in local]
    return [*findings, *origins.check(rules or ()), *host.public_ports(machine)]


def _settings(subject: Subject) -> list[Finding]:
    if subject.refusal is not None:
        refusal = subject.refusal
        where = f"{refusal.where}: " if refusal.where else ""
        return [
            Finding("settings", "failure", f"{where}{refusal.message}", refusal.hint or "see `qanat tunnel run --help`")
        ]
    assert subject.options is not None
    findings = [Finding("token", "ok", f"of tunnel {subject.options.credentials.tunnel_id}")]
    return findings + [Finding("settings", "note", warning) for warning in subject.options.warnings]
