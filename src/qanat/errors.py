"""Every error a person can meet: a stable code, what was given, where, and what to do about it."""

import re
from collections.abc import Mapping
from types import MappingProxyType

# C0, DEL, C1 (which terminals take for escapes too), line and paragraph separators, what turns the writing direction, halves of
# surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class QanatError(Exception):
    """One refusal, told so that its reader can act on it.

    Args:
        code: a key of `CODES`; stable, scripts may match it.
        message: what was given and what is accepted. Never a secret.
        where: the field, rule, file or flag, such as `ingress[2].service` or `--token-file`.
        hint: the fix, in the imperative.
    """

    def __init__(self, code: str, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r}, where={self.where!r}, hint={self.hint!r})"

    @property
    def meaning(self) -> str:
        """The line of `CODES`; "" for a code that nobody registered (a test finds those)."""
        return CODES.get(self.code, "")

    def as_dict(self) -> dict[str, str]:
        """For JSON output: `code`, `message` and, where set, `where` and `hint`."""
        pairs = (("code", self.code), ("message", self.message), ("where", self.where), ("hint", self.hint))
        return {key: value for key, value in pairs if value is not None}


class RetryLaterError(QanatError):
    """A refusal that ends by itself. Args: retry_after_s: when to ask again, in seconds; the others as QanatError's."""

    def __init__(self, code: str, message: str, *, retry_after_s: float, hint: str | None = None) -> None:
        super().__init__(code, message, hint=hint)
        self.retry_after_s = retry_after_s


def render(error: QanatError) -> str:
    """The error for a terminal: one line, and one more for the fix."""
    place = f"{error.where}: " if error.where else ""
    lines = [escape_text(f"error[{error.code}]: {place}{error.message}")]
    if error.hint:
        lines.append(escape_text(f"  fix: {error.hint}"))
    return "\n".join(lines)


def escape_text(text: str) -> str:
    """`text` as one line that can't steer a terminal (security.md S39): control characters and direction overrides as `\\x9b`
    or `\\u202e`."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def escape_json(text: str) -> str:
    """JSON text that can't steer a terminal and means the same: the same characters as `\\u009b`. Its own line ends stay."""
    return _CONTROL.sub(
        lambda found: f"\\u{ord(found.group()):04x}" if found.group() >= "\x7f" else found.group(), text
    )


# One line a code, by the room that raises it; docs/reference/errors is made from this table. Add yours to its room.
_CODES: dict[str, str] = {
    # ids
    "bad_hostname": "a hostname is not one: a label is empty, too long or has a character that names can't have",
    "bad_id": "an id has the wrong form: a UUID, or 32 hexadecimal digits for accounts, zones and records",
    # ingress: the document
    "configuration_too_large": "a configuration is larger than 1 MiB",
    "configuration_malformed": "a configuration is not JSON (or YAML), or not an object",
    "configuration_bad_type": "a key of a configuration has a value of the wrong type",
    "configuration_misspelt_key": "a key is a slip of a known one, or stands elsewhere: it could open what was meant to be shut",
    "configuration_double_key": "a key stands twice in one mapping",
    # ingress: the rules
    "ingress_no_catch_all": "the last ingress rule doesn't match everything",
    "ingress_catch_all_not_last": "a rule that matches everything stands before other rules, which are never reached",
    "ingress_hostname_is_url": "a rule's hostname is a URL",
    "ingress_hostname_has_port": "a rule's hostname names a port",
    "ingress_bad_hostname": "a rule's hostname is not a hostname",
    "ingress_bad_wildcard": "a rule's hostname has a `*` elsewhere than as its whole first label, or more than one",
    "ingress_no_service": "a rule has no service",
    "ingress_bad_service": "a rule's service is in no form that a connector knows",
    "ingress_service_has_path": "a rule's service has a path, a query or a fragment",
    "ingress_service_is_edge": "a service names the edge itself: each request would come back to it (security.md S20)",
    "ingress_bad_status": "`http_status:` is not followed by a code from 100 to 999",
    "ingress_bad_path": "a rule's path is not a regular expression in Go (RE2) syntax",
    "ingress_patterns_too_large": "all path patterns of a configuration together are too large or take too long to compile",
    "ingress_bad_duration": "a duration is not whole seconds (JSON), or not a text such as `30s` (YAML)",
    "ingress_bad_origin_request": "an `originRequest` key has a value that it can't have",
    # connector: flags and files
    "usage": "the command line is wrong: an unknown flag, a missing value, or a value of the wrong form",
    "flag_value_invalid": "a connector's flag, or the variable that sets it, has a value that it can't have",
    "token_missing": "no connector token was given",
    "token_invalid": "the connector token is not one",
    "token_file_unreadable": "the token file is missing, a directory, or not readable",
    "credentials_file_invalid": "the tunnel credentials file is missing or malformed",
    "access_application_unknown": "no Access application stands in front of a URL, or who it is can't be trusted",
    "access_token_missing": "no token of an Access application is kept",
    "login_failed": "nothing was granted on the page of a login, or it couldn't be fetched",
    "command_missing": "`tunnel` was called without a command, and without what a quick tunnel needs",
    "quick_tunnel_refused": "the service of quick tunnels gave none",
    "application_unreachable": "no WebSocket could be opened to the application that `access` was asked to reach",
    "listen_failed": "the address that `access` was told to listen on can't be had",
    "origin_certificate_missing": "there is no cert.pem, and no API token either",
    "origin_certificate_invalid": "cert.pem can't be read, or holds no token",
    "configuration_file_invalid": "the connector's configuration file is missing, unreadable or malformed",
    "ca_file_invalid": "a CA file is missing, unreadable, or holds no PEM certificate",
    "metrics_address": "the metrics address is malformed or taken",
    # a running connector, asked on its host
    "connector_not_running": "no such connector runs on this host",
    "connector_ambiguous": "several connectors run on this host, and none was named",
    "connector_refused": "a running connector doesn't answer, or not to this user",
    "edge_ambiguous": "several edges run on this host, and none was named",
    "edge_drained_late": "an edge was told to drain, and ended with requests still open",
    "edge_not_running": "no such edge runs on this host",
    "edge_refused": "a running edge doesn't answer, or not to this user",
    "upgrade_failed": "a connector's or edge's new process didn't come up; the old one goes on",
    # settings and the data directory
    "settings_invalid": "a setting of the edge is unknown or has a value that it can't have",
    "data_dir_unusable": "the data directory can't be made or written",
    "data_dir_in_use": "another edge runs on the data directory",
    # store
    "store_not_ours": "the database file is not a database of qanat's",
    "store_damaged": "the database file is damaged",
    "store_newer": "the database was written by a newer version of qanat",
    "store_missing": "the database is gone from a data directory that was used before",
    "store_full": "the disk is full; nothing was written",
    "store_unavailable": "the database can't be used right now; nothing was written",
    "store_unsuitable": "the PostgreSQL server or database is too old, or not in UTF-8",
    "store_in_use": "another edge runs on the database",
    "value_unstorable": "a value has a character or a size that the database can't hold",
    "password_file_unreadable": "the file with the database's password is missing, empty or not readable",
    "key_command_failed": "the command that prints the store's key failed, or took too long",
    "key_rotation_elsewhere": "the store's key comes from a command, which must print a new one before a rotation",
    "backup_elsewhere": "the store is a PostgreSQL database, whose backup its own tools take",
    "backup_unreadable": "a backup can't be read or copied",
    "secret_key_missing": "the key that tunnel secrets are sealed with is gone",
    "secret_key_unsafe": "the key that tunnel secrets are sealed with can be read by others",
    "secret_key_bad": "the key file holds no key",
    "secret_key_wrong": "a sealed secret doesn't open: another key sealed it, or it was changed",
    # certificates
    "ca_damaged": "the development CA's certificate and key can't be used",
    "certificate_missing": "a listener has no certificate",
    "certificate_unreadable": "a certificate or key file can't be read",
    "certificate_unmade": "the development CA can't make a hostname's certificate; it is served over plain HTTP only",
    "certificate_unkept": "a certificate can't be written to the data directory; a restart makes another one",
    "certificate_too_many": "an account has as many certificates of the development CA, or a zone of uploaded ones, as it may",
    "certificate_invalid": "a certificate or its key can't be used: not PEM, in the wrong order, or of two different keys",
    "certificate_expired": "a chain that is given has ended, or one of its intermediates has",
    "certificate_elsewhere": "a certificate that is uploaded names nothing in the zone",
    "certificate_unknown": "there is no such certificate, or the token doesn't see it",
    "certificate_ambiguous": "several certificates have a name; an id names one",
    "certificate_given": "a certificate was uploaded, so that no CA renews it, or is in a file, which no API changes",
    # certificates: CAs
    "acme_unreachable": "a CA can't be reached, or its own HTTPS isn't trusted",
    "acme_timeout": "a CA didn't answer in time",
    "acme_answer_bad": "a CA's answer is cut, too large, or not what RFC 8555 says",
    "acme_refused": "a CA refuses an order",
    "acme_rate_limited": "a CA has had too many requests; it is asked again when it allows it",
    "acme_validation_failed": "a CA could not check that a hostname leads to this edge",
    "acme_no_challenge": "a CA offers no proof of a hostname that this edge can give",
    "acme_dns_failed": "the TXT record that proves a hostname could not be written or seen",
    "acme_certificate_bad": "what a CA issued is not what was asked for; it is not served",
    "acme_clock_wrong": "this host's clock is far from the CA's; nothing is ordered before it is set",
    "acme_terms": "a CA's terms of service are not agreed to",
    "acme_account_refused": "a CA refuses the account, or wants one that is bound to another with it",
    "acme_account_unknown": "a CA doesn't know our account any more; it is told of it anew",
    "acme_interrupted": "the edge stopped while it ordered; the order is taken up again",
    # rows that are left out; nobody else's is
    "row_unreadable": "a row can't be read by this version: it is damaged, or a newer version wrote it",
    "hostname_unroutable": "a proxied record's name, or its tunnel, is not one that a request can reach",
    # control API: who asks
    "credentials_missing": "a request to the API has no credentials",
    "credentials_malformed": "the Authorization header is not `Bearer TOKEN`",
    "credentials_email_malformed": "the X-Auth-Email header is missing, or no address",
    "credentials_key_malformed": "the X-Auth-Key header is missing, or not 37 hexadecimal digits",
    "credentials_unknown": "the key and email are unknown, or such keys are not taken here",
    "credentials_unsupported": "this kind of credentials is not taken",
    "permission_missing": "the API token has not the permission that the request needs",
    "record_permission_missing": "the API token may not read, or not edit, DNS records anywhere",
    "host_refused": "the Host header names no host that the control API answers for",
    "too_many_failures": "too many requests with bad credentials came from one address, or with one token's beginning",
    "token_refused": "the API token is unknown, wrong, expired, disabled, or used from an address outside its bounds",
    "token_invalid_on_verify": "the API token that was to be verified is not good",
    # control API: what is asked
    "endpoint_unknown": "qanat does not have this endpoint",
    "method_not_allowed": "the endpoint does not have this method",
    "body_too_large": "the body of a request to the API is too large",
    "version_stale": "what a change was made for has changed meanwhile",
    "version_malformed": "the If-Match header holds no versions",
    "body_too_slow": "the body of a request to the API did not arrive in time",
    "body_malformed": "the body of a request to the API is not JSON, or a field is missing or of the wrong type",
    "filter_bad_value": "a list's filter has a value that has no meaning there",
    "request_bad_time": "a parameter is not a time in RFC 3339 form",
    "account_unknown": "there is no such account, or the token doesn't see it",
    "account_ambiguous": "the token sees several accounts, and none was named",
    "account_bad_name": "an account's name is empty, too long or not printable",
    "account_bad_type": "an account's type, or its unit, is one that qanat doesn't have",
    "account_bad_settings": "an account's setting has a value that it can't have",
    "account_in_use": "the account still owns things, or is the only one, and can't be deleted",
    "user_unknown": "there is no such user",
    "user_bad_field": "a field of the user has a value that it can't have, or another user's address",
    "user_bad_role": "a role is none of owner, admin, operator, viewer",
    "user_too_many": "the edge has as many users as it may",
    "user_last_owner": "the user is the last owner of the edge, and stays one",
    "user_is_self": "nobody removes or shuts out themselves",
    "password_weak": "a password is too short, too long or too simple",
    "sign_in_refused": "the address or the password of somebody who signs in is wrong",
    "sign_in_over": "signing in took too long, or too many codes were wrong; it begins again with the password",
    "code_refused": "the code of a second factor is wrong, used, or over",
    "second_factor_set": "the user has an authenticator already",
    "second_factor_unknown": "the user has no second factor, or is not setting one up",
    "one_time_token_refused": "a one-time token is unknown, used, or over",
    "passkey_refused": "what a device signed can't be taken: another challenge, name or origin, an unknown or a copied passkey",
    "passkey_unknown": "the user has no such passkey",
    "passkey_too_many": "the user has as many passkeys as they may",
    "passkeys_off": "a browser has passkeys only for a name over HTTPS, and for localhost",
    "oidc_failed": "the OpenID provider (control.oidc) can't be asked, or answers nonsense; other ways to sign in go on",
    "oidc_refused": "what came back from the OpenID provider isn't proven, or makes nobody a user here",
    "login_callback_bad": "the callback of a `tunnel login` is none of this edge's, names no key, or was used before",
    "session_unknown": "the user has no such session",
    "legacy_keys_off": "the edge takes no legacy keys (X-Auth-Email and X-Auth-Key)",
    "token_unknown": "there is no such API token, or the asking one doesn't see it",
    "token_too_many": "the account, or the user, has as many API tokens as it may",
    "token_bad_name": "an API token's name is empty, too long or not printable",
    "token_bad_policy": "a policy of an API token names an unknown permission group or resource, or is malformed",
    "token_bad_bounds": "an address bound of an API token is not a valid network (CIDR)",
    "token_bad_time": "an API token's times are in the past or the wrong way round",
    "token_bad_status": "an API token's status is neither `active` nor `disabled`",
    "token_escalates": "the asking API token would give what it doesn't hold itself",
    "request_unknown": "no recent failure has this request id",
    "tunnel_unknown": "there is no such tunnel, or it is deleted",
    "tunnel_name_taken": "another tunnel of the account has this name",
    "tunnel_too_many": "the account has as many tunnels as it may",
    "tunnel_has_connections": "the tunnel has live connections",
    "tunnel_bad_name": "a tunnel's name is empty, too long, not printable, or a UUID",
    "tunnel_bad_secret": "a tunnel secret is not base64 of at least 32 characters",
    "tunnel_bad_config_src": "config_src is neither `local` nor `cloudflare`",
    "connector_unknown": "no such connector is connected",
    "tunnel_has_routes": "the tunnel has private network routes",
    "connector_token_unknown": "there is no such connector token, or it is over",
    "connector_token_bad_name": "a connector token's name is empty, too long or not printable",
    "connector_token_name_taken": "the tunnel has a good connector token of this name",
    "connector_token_bad_expiry": "a connector token would be over before it is made",
    "connector_token_too_many": "the tunnel has as many connector tokens as it may",
    # dashboard
    "form_forged": "a form of the dashboard doesn't come from a page of the same session",
    "form_too_large": "a form of the dashboard is longer than it may be",
    "form_malformed": "a form of the dashboard can't be read",
    "name_differs": "the name that was typed to confirm an action isn't that of the thing it is about",
    "page_unknown": "the dashboard has no such page",
    # nodes: active and standby
    "mode_bad_value": "a tunnel's mode, or one of its settings, has a value that it can't have",
    "mode_active_missing": "which node shall be active isn't plain: none or several are connected",
    "mode_active_set": "another node is active already; only a promotion replaces it",
    "tunnel_not_standby": "the tunnel is in mode replicas, which has no active node",
    "node_unknown": "the tunnel has no such node",
    "node_active": "the node is the active one",
    "node_stale": "the node's connector token is revoked or expired",
    "node_fenced": "the node is fenced: it gets no requests until it is unfenced",
    "node_unready": "the node can't be promoted now: it is not reached, its origin is ill, or its role probe says standby",
    "promotion_unknown": "the tunnel has no such promotion",
    "promotion_under_way": "another promotion of the tunnel is under way",
    "promotion_stale": "the epoch is another one than was expected: another promotion came first",
    "promotion_over": "the promotion is past the step that this is about",
    "promotion_undone": "the promotion was undone: the node that was active still is",
    "promotion_step_failed": "a command of a promotion failed, or took too long",
    "promotion_bad_value": "a promotion's times or bounds are out of range",
    "source_unknown": "a configuration's source is neither `cloudflare` nor `local`",
    "version_unknown": "the tunnel has no configuration of this version",
    "management_bad_resource": "a management token is asked for a resource that there isn't",
    "management_key_bad": "the key that management tokens are signed with is damaged, or can be read by others",
    "explain_bad_url": "the URL to explain has no hostname, or its path is too long",
    "explain_too_long": "matching the URL takes too long, as a rule's path pattern is made for it",
    "too_often": "something was done more often than is taken within a time: the message says what",
    "busy": "too much of this is being done already, for the caller's account or for all: ask again in a moment",
    "quick_off": "quick tunnels are not switched on",
    "quick_refused": "a web page asked for a quick tunnel",
    "quick_zone_missing": "the zone of the quick tunnels is not on this server",
    "quick_too_many": "there are as many quick tunnels as there may be, of this address or in all",
    "teamnet_bad_network": "a private network is not a CIDR, or has bits behind its prefix",
    "teamnet_bad_comment": "a private route's comment is too long",
    "teamnet_route_taken": "the virtual network has a route of exactly this network",
    "teamnet_route_too_many": "the account has as many private routes as it may",
    "teamnet_route_unknown": "there is no such private route",
    "virtual_network_unknown": "there is no such virtual network",
    "virtual_network_bad_name": "a virtual network's name or comment is empty, too long or not printable",
    "virtual_network_name_taken": "the account has a virtual network of this name",
    "virtual_network_too_many": "the account has as many virtual networks as it may",
    "virtual_network_is_default": "the default virtual network can't be deleted, or made no default",
    "virtual_network_in_use": "the virtual network has routes",
    "zone_unknown": "there is no such zone, or the token doesn't see it",
    "zone_exists": "the zone exists, or another account has one above or below it",
    "zone_held": "the name was another account's zone until lately, and is held for that account",
    "zone_too_many": "the account has as many zones as it may",
    "access_log_unwritable": "the access log's file can't be opened",
    "otlp_missing": "spans are to be sent, and OpenTelemetry's SDK is not installed",
    "setting_bad_value": "a zone's setting has a value that it can't have",
    "error_page_empty": "an error page of a zone has no content",
    "error_page_too_large": "an error page of a zone has more bytes than the edge keeps",
    "setting_fixed": "a zone's setting is the same for every zone, and can't be changed",
    "zone_bad_type": "a zone's type is not `full`",
    "record_unknown": "there is no such record in the zone",
    "record_identical": "the same record exists",
    "record_exists": "a record of this name, type and content exists with other settings",
    "record_host_taken": "a CNAME's name has an A, AAAA or CNAME record",
    "record_cname_taken": "an address record's name has a CNAME",
    "record_too_many": "the zone has as many records as it may",
    "record_bad_name": "a record's name is not a name in its zone",
    "record_bad_type": "a record's type is not a known one",
    "record_bad_address": "an A record's content is not an IPv4 address",
    "record_bad_content": "a record's content or data is not right for its type, or names a tunnel that isn't the account's",
    "record_bad_priority": "a record's priority is missing, or not from 0 to 65535",
    "record_bad_tag": "a record's tag is not `name` or `name:value`, or there are too many",
    "record_bad_proxied": "a record's `proxied` is neither true nor false",
    "record_cname_self": "a CNAME points to itself",
    "record_tunnel_unproxied": "a CNAME to a tunnel is not proxied, so that nothing could reach it",
    "record_of_edge": "a record would lead a name to a tunnel under which the edge serves its control plane",
    "record_ns_taken": "a name that is delegated by NS records can't have an address or a CNAME",
    "record_batch_too_large": "a batch or an import has more records than are taken at once",
    "zone_file_malformed": "a zone file to import is not one, or has a line that can't be taken",
    "record_not_proxiable": "a record of this type can't be proxied",
    "record_bad_ttl": "a record's ttl is neither 1 nor from 30 to 86400",
    "record_bad_comment": "a record's comment is too long",
    "route_conflict": "one hostname points to two tunnels",
    "route_taken": "the hostname has a record with another target",
    "route_zone_forbidden": "the hostname is in a zone that the token may not edit",
    "route_no_zone": "the hostname ends with a dot and is in no zone",
    "route_bad_type": "a route is of no kind that there is",
    "route_bad_hostname": "a route has no hostname",
    "route_load_balancer": "there are no load balancers",
    # weights
    "hostname_unknown": "the hostname has no proxied CNAME to a tunnel, or its zone isn't seen",
    "targets_bad": "the tunnels and weights of a hostname can't be so",
    # cutovers
    "cutover_unknown": "there is no such cutover",
    "cutover_bad_plan": "a field of a cutover's plan has a value that it can't have",
    "cutover_onto_itself": "a cutover's source and target are the same tunnel",
    "cutover_hostname_unknown": "a hostname to cut over has no proxied CNAME to a tunnel, or its zone isn't seen",
    "cutover_not_from": "a hostname to cut over leads to another tunnel than the plan says",
    "cutover_weighted": "a hostname to cut over leads to several tunnels by weights",
    "cutover_under_way": "another cutover of the hostname is not over yet",
    "cutover_stale": "the hostnames were changed since the cutover was planned",
    "cutover_changed": "the records are no longer as the cutover left them",
    "cutover_over": "the cutover is over, so that there is nothing to pause, resume or take back",
    "cutover_refused": "a gate of the cutover is shut, and nothing was moved",
    "cutover_rolled_back": "the cutover was taken back",
    "cutover_stopped": "the cutover stopped, since a record was changed by others meanwhile",
    "cutover_source_down": "the tunnel that a rollback would go back to has no usable connection",
    "cutover_needs_edge": "this needs an edge of qanat's, and the API is another one's",
    "cutover_unfinished": "a cutover against another API was broken off, and its state file says where",
    "record_target_down": "a record would be repointed from a tunnel that serves to one that doesn't",
    "policy_bad": "a zone's cutover policy is not enforce, warn or off",
    # whole accounts
    "export_unknown_format": "a file is not an exported account, or was exported by a newer version of qanat",
    "export_malformed": "an exported account has a field that is missing or of the wrong form",
    "export_secret_damaged": "a sealed secret in an exported account was changed, or moved to another object",
    "passphrase_missing": "sealed secrets need a passphrase, and none was given",
    "passphrase_weak": "a passphrase is too short or too long",
    "passphrase_wrong": "the passphrase is not the one that the secrets were sealed with",
    "import_too_long": "checking the document to import takes more computing than one import may",
    "import_conflict": "an import would collide with what is there; nothing was written",
    # alerts
    "alert_rule_unknown": "there is no such alert rule, or it is another account's",
    "alert_channel_unknown": "there is no such channel for alerts, or it is another account's",
    "alert_bad_field": "a field of an alert rule or of a channel has a value that it can't have",
    "alert_too_many": "the account has as many alert rules, or channels, as it may have",
    "alert_edge_forbidden": "a rule about the edge itself is for those who may edit every account",
    "alert_address_denied": "a message would go to an address where nothing is sent: loopback, private, metadata, or without TLS",
    "alert_unreachable": "the receiver of an alert can't be reached, or says that it can't now",
    "alert_refused": "the receiver of an alert will not have it",
    # host: the service, the firewall
    "service_not_permitted": "services and firewalls of a machine are root's to change",
    "service_manager_unknown": "a service manager is named that qanat doesn't know",
    "service_secret_in_flags": "a secret would stand in a service's command line or configuration, which every user can read",
    "service_session": "the service would be taken away under the session that asks for it",
    "service_missing": "the service is not installed",
    "service_update_failed": "an updated connector was not ready in time",
    "host_command_failed": "a command of the host failed",
    "shim_impossible": "a second entry point named cloudflared can't be made, or isn't ours to remove",
    "lockdown_tool_missing": "neither nftables nor iptables is there, or not the one that was named",
    "lockdown_bad_value": "a port, interface or network of a lockdown is not one",
    "cloud_init_bad_package": "a package for cloud-init has no address, or no hash to check it by",
    "extra_missing": "a part of qanat is asked for that isn't installed: `qanat[edge]` brings it",
    # CLI and client
    "api_not_encrypted": "a token would go to another machine in clear text",
    "api_token_unsafe": "the API token's file can be read or written by others",
    "api_token_unknown": "there is no such API token",
    "api_token_ambiguous": "several API tokens have this name",
    "permission_unknown": "a permission that a token should have does not exist",
    "record_ambiguous": "several records have this name",
    "profile_unknown": "there is no such profile",
    "profile_exists": "there is a profile of this name",
    "profile_bad_name": "a profile's name has characters that it can't have",
    "profiles_unusable": "the file of profiles can't be read, is damaged, or can be written by others",
    "file_exists": "a file that would be written exists",
    "file_unwritable": "a file can't be written",
    "file_unreadable": "a file can't be read",
    "file_not_json": "a file is not a JSON object",
    "api_address": "the control API's address can't be listened on",
    "api_failed": "the control API did not start",
    "api_refused": "the API refused a request",
    "api_standard_only": "the control plane has only the standard endpoints, and what was asked for is qanat's own",
    "endpoint_unreachable": "a connector's endpoint doesn't answer, or not as expected",
    "not_ready": "a connector isn't ready, or doesn't answer",
    "log_not_found": "a connector's log can't be collected",
    "trace_failed": "the way to an edge can't be traced",
    "management_token_invalid": "what was given as a management token is none",
    "api_unreachable": "the API doesn't answer, or not as a v4 API",
    "api_token_missing": "no API token was given",
    "api_token_unreadable": "the API token's file can't be read, or what was given is not a token of qanat's",
    # health
    "probe_unknown": "nothing is set for that hostname or tunnel, or it is none of the account's",
    "probe_too_many": "the account has as many probes as it may have",
    "probe_bad": "a probe can't be sent: its path, method, hostname or a header field can't stand in a request",
    "request_list_unknown": "there is no request list of that hostname, or it is none of the account's",
    "request_list_too_many": "the edge keeps as many request lists as it may",
    "request_list_bad": "a request list can't be so long or so large, or a filter of it can't be read",
    "tail_too_many": "the edge follows as many logs for people as it may",
    "probe_unanswered": "the edge told nothing of a probe in time: it is ending, or its store is away",
    # engine: refusals of `qanat._engine`, one `engine_<code>` each
    "engine_bind_failed": "an address can't be listened on: taken, not this machine's, or not permitted",
    "engine_bad_socket": "a socket that was handed over is none that its role needs, or bound elsewhere than the settings say",
    "engine_bad_certificate": "a certificate chain and its key are not PEM or don't belong together",
    "engine_bad_setting": "the engine refused a setting",
    "engine_start_failed": "the engine got no threads or sockets from the system",
    "engine_unknown_push": "an answer to a pushed configuration came too late",
    "engine_route_conflict": "one hostname is routed to two tunnels",
    "engine_bad_pattern": "the engine refused a rule's path",
    "engine_bad_hostname": "the engine refused a rule's hostname",
    "engine_bad_origin_setting": "the engine refused an `originRequest` key",
    "engine_bad_target": "the engine refused a rule's service",
}

CODES: Mapping[str, str] = MappingProxyType(_CODES)
