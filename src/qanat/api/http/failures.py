"""Our error codes as HTTP status and v4 code (api.md 0.2, 2, 3.4). One table, read top to bottom."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """`chain`: the code of the `error_chain` entry. `points`: the error names a field of the body. `under`: where that
    field's path starts. `names_place`: the message says where (not where stock clients match the text)."""

    status: int
    code: int
    chain: int | None = None
    points: bool = False
    under: str = ""
    names_place: bool = True


FAILURES: dict[str, Failure] = {
    # who asks
    "credentials_missing": Failure(400, 6003, chain=6112, names_place=False),
    "credentials_malformed": Failure(400, 6003, chain=6111, names_place=False),
    "credentials_email_malformed": Failure(400, 6003, chain=6102, names_place=False),
    "credentials_key_malformed": Failure(400, 6003, chain=6103, names_place=False),
    "credentials_unknown": Failure(403, 9103, names_place=False),
    "credentials_unsupported": Failure(403, 10000, names_place=False),
    "permission_missing": Failure(403, 10000, names_place=False),
    "record_permission_missing": Failure(403, 1009, names_place=False),
    "host_refused": Failure(421, 10421, names_place=False),
    "too_many_failures": Failure(429, 10429, names_place=False),
    "too_often": Failure(429, 10429, names_place=False),
    "busy": Failure(429, 10429, names_place=False),
    "token_refused": Failure(403, 9109, names_place=False),
    "token_invalid_on_verify": Failure(401, 1000, names_place=False),
    # probes
    "probe_bad": Failure(400, 1001, points=True),
    "probe_unknown": Failure(404, 1002),
    "probe_too_many": Failure(400, 1001),
    "probe_unanswered": Failure(503, 10503),
    # tokens, users, accounts
    "token_unknown": Failure(404, 7003, names_place=False),
    "token_too_many": Failure(400, 1001),
    "token_bad_name": Failure(400, 1001, points=True),
    "token_bad_policy": Failure(400, 1001, points=True),
    "token_bad_bounds": Failure(400, 1001, points=True),
    "token_bad_time": Failure(400, 1001, points=True),
    "token_bad_status": Failure(400, 1001, points=True),
    "token_escalates": Failure(403, 10000, points=True),
    "account_bad_name": Failure(400, 1001, points=True),
    "account_bad_settings": Failure(400, 1001, points=True),
    "account_bad_type": Failure(400, 1001, points=True),
    "account_in_use": Failure(400, 1001, names_place=False),
    "user_bad_field": Failure(400, 1001, points=True),
    "user_bad_role": Failure(400, 1001, points=True),
    "user_too_many": Failure(400, 1001),
    "user_last_owner": Failure(409, 1013, names_place=False),
    "user_is_self": Failure(409, 1013, names_place=False),
    "password_weak": Failure(400, 1001, points=True),
    "session_unknown": Failure(404, 7003, names_place=False),
    "second_factor_unknown": Failure(404, 7003, names_place=False),
    "legacy_keys_off": Failure(400, 1001),
    # the request
    "endpoint_unknown": Failure(404, 7000, names_place=False),
    "method_not_allowed": Failure(405, 10405, names_place=False),
    "body_too_large": Failure(400, 10413, names_place=False),
    "body_too_slow": Failure(400, 10408, names_place=False),  # not 408, which SDKs repeat
    "body_malformed": Failure(400, 6007, points=True),
    "version_stale": Failure(412, 10412, names_place=False),
    "version_malformed": Failure(400, 10001),
    "request_bad_time": Failure(400, 10001),
    "filter_bad_value": Failure(400, 10001),
    # objects
    "account_unknown": Failure(404, 7003, names_place=False),
    "zone_unknown": Failure(404, 7003, names_place=False),
    "user_unknown": Failure(404, 7003, names_place=False),
    "request_unknown": Failure(404, 7003, names_place=False),
    "bad_id": Failure(404, 7003, names_place=False),
    # tunnels
    "tunnel_unknown": Failure(404, 1002, names_place=False),
    "connector_unknown": Failure(404, 1002, names_place=False),
    "tunnel_name_taken": Failure(409, 1013, points=True, names_place=False),
    "tunnel_too_many": Failure(400, 1001),
    "tunnel_has_connections": Failure(400, 1022, names_place=False),
    "tunnel_has_routes": Failure(400, 1023, names_place=False),
    "connector_token_unknown": Failure(404, 1002, names_place=False),
    "connector_token_bad_name": Failure(400, 1001, points=True),
    "connector_token_name_taken": Failure(409, 1013, points=True, names_place=False),
    "connector_token_bad_expiry": Failure(400, 1001, points=True),
    "connector_token_too_many": Failure(400, 1001),
    "mode_bad_value": Failure(400, 1001, points=True),
    "mode_active_missing": Failure(400, 1001, points=True),
    "mode_active_set": Failure(409, 1013, points=True),
    "tunnel_not_standby": Failure(409, 1013, names_place=False),
    "node_unknown": Failure(404, 1002, names_place=False),
    "node_active": Failure(409, 1013, names_place=False),
    "node_stale": Failure(409, 1013, names_place=False),
    "node_fenced": Failure(409, 1013, names_place=False),
    "node_unready": Failure(409, 1013, names_place=False),
    "promotion_unknown": Failure(404, 1002, names_place=False),
    "promotion_under_way": Failure(409, 1013, names_place=False),
    "promotion_stale": Failure(409, 1013, names_place=False),
    "promotion_over": Failure(409, 1013, names_place=False),
    "promotion_bad_value": Failure(400, 1001, points=True),
    "source_unknown": Failure(400, 1056, points=True),
    "version_unknown": Failure(404, 1002, names_place=False),
    "management_bad_resource": Failure(400, 1001, points=True),
    "explain_bad_url": Failure(400, 1001),
    "explain_too_long": Failure(400, 1001),
    # routes and networks
    "hostname_unknown": Failure(404, 1003, names_place=False),
    "targets_bad": Failure(400, 1003, points=True),
    "route_taken": Failure(400, 1003, points=True, names_place=False),
    "route_zone_forbidden": Failure(403, 10000, points=True, names_place=False),
    "route_no_zone": Failure(400, 1003, points=True, names_place=False),
    "route_bad_type": Failure(400, 1001, points=True),
    "route_bad_hostname": Failure(400, 1001, points=True),
    "route_load_balancer": Failure(400, 1001, points=True, names_place=False),
    "teamnet_bad_network": Failure(400, 1001, points=True),
    "teamnet_bad_comment": Failure(400, 1001, points=True),
    "teamnet_route_taken": Failure(409, 1014, points=True, names_place=False),
    "teamnet_route_too_many": Failure(400, 1001),
    "teamnet_route_unknown": Failure(404, 1015, names_place=False),
    "virtual_network_unknown": Failure(404, 1015, names_place=False),
    "virtual_network_bad_name": Failure(400, 1001, points=True),
    "virtual_network_name_taken": Failure(409, 1014, points=True, names_place=False),
    "virtual_network_too_many": Failure(400, 1001),
    "virtual_network_is_default": Failure(400, 1001, names_place=False),
    "virtual_network_in_use": Failure(400, 1023, names_place=False),
    # quick tunnels
    "quick_off": Failure(404, 7000, names_place=False),
    "quick_refused": Failure(403, 10000, names_place=False),
    "quick_zone_missing": Failure(503, 10503, names_place=False),
    "quick_too_many": Failure(429, 10429, names_place=False),
    "tunnel_bad_name": Failure(400, 1001, points=True),
    "tunnel_bad_secret": Failure(400, 1001, points=True),
    "tunnel_bad_config_src": Failure(400, 1001, points=True),
    # zones and records
    "zone_exists": Failure(400, 1061, points=True, names_place=False),
    "zone_too_many": Failure(400, 1118),
    "zone_held": Failure(400, 1105, points=True),
    "zone_bad_type": Failure(400, 1004, points=True),
    "setting_fixed": Failure(400, 1004, points=True),
    "setting_bad_value": Failure(400, 1004, points=True),
    "error_page_empty": Failure(400, 1004, points=True),
    "error_page_too_large": Failure(400, 1004, points=True),
    "bad_hostname": Failure(400, 1004, points=True),
    "record_unknown": Failure(404, 81044, names_place=False),
    "record_too_many": Failure(400, 81045),
    "record_of_edge": Failure(400, 9999, points=True),
    "record_identical": Failure(400, 81058, names_place=False),
    "record_exists": Failure(400, 81057, names_place=False),
    "record_host_taken": Failure(400, 81053, names_place=False),
    "record_cname_taken": Failure(400, 81054, names_place=False),
    "record_bad_name": Failure(400, 9000, points=True),
    "record_bad_type": Failure(400, 1004, points=True),
    "record_bad_address": Failure(400, 9005, points=True),
    "record_bad_content": Failure(400, 9007, points=True),
    "record_bad_priority": Failure(400, 1004, points=True),
    "record_bad_tag": Failure(400, 1004, points=True),
    "record_bad_proxied": Failure(400, 9003, points=True),
    "record_cname_self": Failure(400, 9039, points=True, names_place=False),
    "record_tunnel_unproxied": Failure(400, 9007, points=True),
    "record_ns_taken": Failure(400, 81056, names_place=False),
    "record_batch_too_large": Failure(400, 1004, names_place=False),
    "zone_file_malformed": Failure(400, 1004, names_place=False),
    "record_not_proxiable": Failure(400, 9004, points=True),
    "record_bad_ttl": Failure(400, 9021, points=True),
    "record_bad_comment": Failure(400, 1004, points=True),
    # certificates
    "certificate_unknown": Failure(404, 7003, names_place=False),
    "certificate_invalid": Failure(400, 1001, points=True),
    "certificate_expired": Failure(400, 1001, points=True),
    "certificate_elsewhere": Failure(400, 1001, points=True),
    "certificate_too_many": Failure(400, 1001),
    "certificate_given": Failure(409, 10409, names_place=False),
    # cutovers
    "alert_rule_unknown": Failure(404, 7003, names_place=False),
    "alert_channel_unknown": Failure(404, 7003, names_place=False),
    "alert_bad_field": Failure(400, 1001, points=True),
    "alert_too_many": Failure(400, 1001),
    "alert_edge_forbidden": Failure(403, 10000, points=True),
    "cutover_unknown": Failure(404, 7003, names_place=False),
    "cutover_bad_plan": Failure(400, 1001, points=True),
    "cutover_onto_itself": Failure(400, 1001, points=True),
    "cutover_hostname_unknown": Failure(404, 7003, points=True),
    "cutover_not_from": Failure(409, 10409, points=True),
    "cutover_weighted": Failure(409, 10409, points=True),
    "cutover_under_way": Failure(409, 10409, names_place=False),
    "cutover_stale": Failure(409, 10409, names_place=False),
    "cutover_changed": Failure(409, 10409),
    "cutover_over": Failure(409, 10409),
    "cutover_needs_edge": Failure(400, 1001),
    "cutover_source_down": Failure(409, 10409),
    "record_target_down": Failure(409, 10409, points=True),
    "policy_bad": Failure(400, 1001, points=True),
    # whole accounts
    "export_unknown_format": Failure(400, 6007, points=True),
    "export_malformed": Failure(400, 6007, points=True),
    "export_secret_damaged": Failure(400, 6007),
    "passphrase_missing": Failure(400, 10011, names_place=False),
    "passphrase_weak": Failure(400, 10011, names_place=False),
    "passphrase_wrong": Failure(400, 10011, names_place=False),
    "import_conflict": Failure(409, 10409),
    "import_too_long": Failure(400, 6007),
    # ourselves
    "store_full": Failure(507, 10507, names_place=False),
    "backup_elsewhere": Failure(409, 10409),
    "key_rotation_elsewhere": Failure(409, 10409),
    "store_damaged": Failure(500, 10500, names_place=False),
    "value_unstorable": Failure(400, 6007),
    "store_unavailable": Failure(503, 10503, names_place=False),
}

CONFIGURATION = Failure(400, 1056, points=True, under="/config")
INTERNAL = Failure(500, 10500, names_place=False)


def failure_of(code: str) -> Failure:
    """How a code is told; the ingress validation's codes all are 1056; an unlisted one is our fault."""
    if code.startswith(("ingress_", "configuration_")):
        return CONFIGURATION
    return FAILURES.get(code, INTERNAL)
