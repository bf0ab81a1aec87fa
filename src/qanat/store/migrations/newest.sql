CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE accounts (
	id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	created_at DATETIME NOT NULL, settings JSON DEFAULT '{}' NOT NULL, 
	CONSTRAINT pk_accounts PRIMARY KEY (id)
);

CREATE TABLE audit (
	seq INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	actor_kind TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	address TEXT NOT NULL, 
	action TEXT NOT NULL, 
	account_id VARCHAR(32), 
	object_id TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	previous VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (seq)
);

CREATE INDEX ix_audit_account_id ON audit (account_id);

CREATE TABLE events (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	kind TEXT NOT NULL, 
	tunnel_id VARCHAR(36), 
	detail JSON NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (id)
);

CREATE INDEX ix_events_tunnel_id_id ON events (tunnel_id, id);

CREATE TABLE users (
	id VARCHAR(32) NOT NULL, 
	email TEXT NOT NULL, 
	created_at DATETIME NOT NULL, first_name TEXT DEFAULT '' NOT NULL, last_name TEXT DEFAULT '' NOT NULL, key_sha256 BLOB, password_hash TEXT, password_changed_at DATETIME, disabled BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_email UNIQUE (email)
);

CREATE TABLE api_tokens (
	id VARCHAR(32) NOT NULL, 
	user_id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32), 
	name TEXT NOT NULL, 
	sha256 BLOB NOT NULL, 
	disabled BOOLEAN NOT NULL, 
	not_before DATETIME, 
	expires_on DATETIME, 
	created_at DATETIME NOT NULL, 
	last_used_at DATETIME, 
	last_used_from TEXT, kind TEXT DEFAULT 'api' NOT NULL, policies JSON DEFAULT '[]' NOT NULL, allowed_ips JSON DEFAULT '[]' NOT NULL, denied_ips JSON DEFAULT '[]' NOT NULL, modified_at DATETIME DEFAULT '1970-01-01 00:00:00.000000' NOT NULL, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT uq_api_tokens_sha256 UNIQUE (sha256)
);

CREATE TABLE tunnels (
	id VARCHAR(36) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	config_src TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	deleted_at DATETIME, 
	conns_active_at DATETIME, 
	conns_inactive_at DATETIME, 
	down_reason TEXT, 
	local_configuration TEXT, 
	local_configuration_at DATETIME, quick_address TEXT, quick_expires_at DATETIME, status TEXT DEFAULT 'inactive' NOT NULL, status_since DATETIME, 
	CONSTRAINT pk_tunnels PRIMARY KEY (id), 
	CONSTRAINT fk_tunnels_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id)
);

CREATE INDEX ix_tunnels_account_id_created_at_id ON tunnels (account_id, created_at, id);

CREATE UNIQUE INDEX uq_tunnels_account_id_name_live ON tunnels (account_id, name) WHERE deleted_at IS NULL;

CREATE TABLE zones (
	id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	paused BOOLEAN NOT NULL, 
	type TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	modified_at DATETIME NOT NULL, cutover_policy TEXT, 
	CONSTRAINT pk_zones PRIMARY KEY (id), 
	CONSTRAINT fk_zones_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id), 
	CONSTRAINT uq_zones_name UNIQUE (name)
);

CREATE INDEX ix_zones_account_id ON zones (account_id);

CREATE TABLE configurations (
	tunnel_id VARCHAR(36) NOT NULL, 
	version INTEGER NOT NULL, 
	document TEXT NOT NULL, 
	source TEXT NOT NULL, 
	author TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_configurations PRIMARY KEY (tunnel_id, version), 
	CONSTRAINT fk_configurations_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id)
);

CREATE TABLE connections (
	id VARCHAR(36) NOT NULL, 
	tunnel_id VARCHAR(36) NOT NULL, 
	connector_id VARCHAR(36) NOT NULL, 
	"index" INTEGER NOT NULL, 
	protocol TEXT NOT NULL, 
	origin_ip TEXT NOT NULL, 
	location TEXT NOT NULL, 
	opened_at DATETIME NOT NULL, 
	draining_at DATETIME, 
	lost_at DATETIME, 
	lost_reason TEXT, 
	pushed_version INTEGER, 
	applied_version INTEGER, 
	config_error TEXT NOT NULL, token_id VARCHAR(36) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_connections PRIMARY KEY (id), 
	CONSTRAINT fk_connections_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id)
);

CREATE INDEX ix_connections_lost_at ON connections (lost_at);

CREATE INDEX ix_connections_tunnel_id_lost_at ON connections (tunnel_id, lost_at);

CREATE TABLE connectors (
	tunnel_id VARCHAR(36) NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	version TEXT NOT NULL, 
	arch TEXT NOT NULL, 
	features JSON NOT NULL, 
	run_at DATETIME NOT NULL, 
	max_connections INTEGER NOT NULL, 
	config_version INTEGER NOT NULL, 
	config_error TEXT NOT NULL, 
	lost_at DATETIME, 
	CONSTRAINT pk_connectors PRIMARY KEY (tunnel_id, id), 
	CONSTRAINT fk_connectors_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id)
);

CREATE TABLE records (
	id VARCHAR(32) NOT NULL, 
	zone_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	type TEXT NOT NULL, 
	content TEXT NOT NULL, 
	content_key TEXT NOT NULL, 
	ttl INTEGER NOT NULL, 
	proxied BOOLEAN NOT NULL, 
	comment TEXT, 
	tags JSON NOT NULL, 
	settings JSON NOT NULL, 
	tunnel_id VARCHAR(36), 
	created_at DATETIME NOT NULL, 
	modified_at DATETIME NOT NULL, 
	comment_modified_at DATETIME, 
	tags_modified_at DATETIME, data JSON, written_as TEXT DEFAULT 'content' NOT NULL, priority INTEGER, private_routing BOOLEAN, 
	CONSTRAINT pk_records PRIMARY KEY (id), 
	CONSTRAINT fk_records_zone_id_zones FOREIGN KEY(zone_id) REFERENCES zones (id) ON DELETE CASCADE
);

CREATE INDEX ix_records_tunnel_id ON records (tunnel_id);

CREATE INDEX ix_records_zone_id_name_type ON records (zone_id, name, type);

CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_never_shrinks BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE INDEX ix_connections_tunnel_id_connector_id_lost_at ON connections (tunnel_id, connector_id, lost_at);

CREATE TABLE connector_tokens (
	id VARCHAR(36) NOT NULL, 
	tunnel_id VARCHAR(36) NOT NULL, 
	name TEXT NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	revoked_at DATETIME, 
	last_used_at DATETIME, 
	last_used_from TEXT, 
	CONSTRAINT pk_connector_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_connector_tokens_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id)
);

CREATE INDEX ix_connector_tokens_tunnel_id ON connector_tokens (tunnel_id);

CREATE UNIQUE INDEX uq_connector_tokens_tunnel_id_name_live ON connector_tokens (tunnel_id, name) WHERE revoked_at IS NULL;

CREATE TABLE virtual_networks (
	id VARCHAR(36) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	is_default BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	deleted_at DATETIME, 
	CONSTRAINT pk_virtual_networks PRIMARY KEY (id), 
	CONSTRAINT fk_virtual_networks_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id)
);

CREATE INDEX ix_virtual_networks_account_id ON virtual_networks (account_id);

CREATE TABLE teamnet_routes (
	id VARCHAR(36) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	network TEXT NOT NULL, 
	tunnel_id VARCHAR(36) NOT NULL, 
	virtual_network_id VARCHAR(36) NOT NULL, 
	comment TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	deleted_at DATETIME, 
	CONSTRAINT pk_teamnet_routes PRIMARY KEY (id), 
	CONSTRAINT fk_teamnet_routes_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id), 
	CONSTRAINT fk_teamnet_routes_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id), 
	CONSTRAINT fk_teamnet_routes_virtual_network_id_virtual_networks FOREIGN KEY(virtual_network_id) REFERENCES virtual_networks (id)
);

CREATE INDEX ix_teamnet_routes_account_id ON teamnet_routes (account_id);

CREATE INDEX ix_teamnet_routes_tunnel_id ON teamnet_routes (tunnel_id);

CREATE TABLE key_checks (
	id VARCHAR(36) NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	CONSTRAINT pk_key_checks PRIMARY KEY (id)
);

CREATE TABLE released_names (
	name TEXT NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	released_at DATETIME NOT NULL, 
	CONSTRAINT pk_released_names PRIMARY KEY (name)
);

CREATE TABLE cutovers (
	id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	from_tunnel_id VARCHAR(36) NOT NULL, 
	to_tunnel_id VARCHAR(36) NOT NULL, 
	hostnames JSON NOT NULL, 
	"plan" JSON NOT NULL, 
	state TEXT NOT NULL, 
	step INTEGER NOT NULL, 
	is_paused BOOLEAN NOT NULL, 
	is_resumed BOOLEAN NOT NULL, 
	since DATETIME NOT NULL, 
	version INTEGER NOT NULL, 
	why TEXT NOT NULL, 
	base_version TEXT NOT NULL, 
	records JSON NOT NULL, 
	gates JSON NOT NULL, 
	baseline JSON, 
	timeline JSON NOT NULL, 
	asked_by TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	CONSTRAINT pk_cutovers PRIMARY KEY (id), 
	CONSTRAINT fk_cutovers_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);

CREATE INDEX ix_cutovers_account_id_created_at ON cutovers (account_id, created_at);

CREATE INDEX ix_cutovers_state ON cutovers (state);

CREATE TABLE probes (
	account_id VARCHAR(32) NOT NULL, 
	target VARCHAR(253) NOT NULL, 
	document JSON NOT NULL, 
	modified_at DATETIME NOT NULL, 
	CONSTRAINT pk_probes PRIMARY KEY (account_id, target), 
	CONSTRAINT fk_probes_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id)
);

CREATE TABLE health_states (
	hostname VARCHAR(253) NOT NULL, 
	tunnel_id VARCHAR(36) NOT NULL, 
	token_id VARCHAR(36) NOT NULL, 
	state TEXT NOT NULL, 
	why TEXT NOT NULL, 
	since DATETIME NOT NULL, 
	CONSTRAINT pk_health_states PRIMARY KEY (hostname, tunnel_id, token_id)
);

CREATE TABLE certificates (
	id VARCHAR(36) NOT NULL, 
	zone_id VARCHAR(32), 
	source TEXT NOT NULL, 
	names JSON NOT NULL, 
	chain TEXT NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	issuer TEXT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	authority TEXT, 
	not_before DATETIME NOT NULL, 
	not_after DATETIME NOT NULL, 
	created_at DATETIME NOT NULL, 
	renew_at DATETIME, 
	ask_at DATETIME, 
	CONSTRAINT pk_certificates PRIMARY KEY (id), 
	CONSTRAINT fk_certificates_zone_id_zones FOREIGN KEY(zone_id) REFERENCES zones (id) ON DELETE CASCADE
);

CREATE INDEX ix_certificates_zone_id ON certificates (zone_id);

CREATE TABLE certificate_orders (
	id VARCHAR(36) NOT NULL, 
	name TEXT NOT NULL, 
	zone_id VARCHAR(32), 
	certificate_id VARCHAR(36), 
	state TEXT NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	authority TEXT, 
	order_url TEXT, 
	proved_at DATETIME, 
	failures INTEGER NOT NULL, 
	attempted_at DATETIME, 
	next_at DATETIME, 
	error_code TEXT, 
	error_reason TEXT, 
	error_at DATETIME, 
	CONSTRAINT pk_certificate_orders PRIMARY KEY (id), 
	CONSTRAINT fk_certificate_orders_zone_id_zones FOREIGN KEY(zone_id) REFERENCES zones (id) ON DELETE CASCADE, 
	CONSTRAINT uq_certificate_orders_name UNIQUE (name)
);

CREATE INDEX ix_certificate_orders_zone_id ON certificate_orders (zone_id);

CREATE TABLE acme_accounts (
	id VARCHAR(36) NOT NULL, 
	directory TEXT NOT NULL, 
	email TEXT NOT NULL, 
	url TEXT, 
	sealed_secret BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	paused_until DATETIME, 
	CONSTRAINT pk_acme_accounts PRIMARY KEY (id), 
	CONSTRAINT uq_acme_accounts_directory UNIQUE (directory)
);

CREATE TABLE hostname_targets (
	zone_id VARCHAR(32) NOT NULL, 
	hostname TEXT NOT NULL, 
	tunnel_id VARCHAR(36) NOT NULL, 
	weight INTEGER NOT NULL, 
	sticky TEXT NOT NULL, 
	CONSTRAINT pk_hostname_targets PRIMARY KEY (zone_id, hostname, tunnel_id), 
	CONSTRAINT fk_hostname_targets_zone_id_zones FOREIGN KEY(zone_id) REFERENCES zones (id) ON DELETE CASCADE
);

CREATE TABLE tunnel_roles (
	tunnel_id VARCHAR(36) NOT NULL, 
	mode TEXT NOT NULL, 
	active_token_id VARCHAR(36), 
	epoch INTEGER NOT NULL, 
	since DATETIME NOT NULL, 
	reason TEXT NOT NULL, 
	automatic BOOLEAN NOT NULL, 
	follows_role BOOLEAN NOT NULL, 
	failover_after_s FLOAT NOT NULL, 
	hold_down_s FLOAT NOT NULL, 
	max_promotions INTEGER NOT NULL, 
	per_s FLOAT NOT NULL, 
	keeps_standby BOOLEAN NOT NULL, 
	CONSTRAINT pk_tunnel_roles PRIMARY KEY (tunnel_id), 
	CONSTRAINT fk_tunnel_roles_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id)
);

CREATE TABLE node_states (
	tunnel_id VARCHAR(36) NOT NULL, 
	token_id VARCHAR(36) NOT NULL, 
	fenced_at DATETIME, 
	fenced_by TEXT NOT NULL, 
	fenced_reason TEXT NOT NULL, 
	role TEXT NOT NULL, 
	role_at DATETIME, 
	role_detail TEXT NOT NULL, 
	CONSTRAINT pk_node_states PRIMARY KEY (tunnel_id, token_id), 
	CONSTRAINT fk_node_states_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id)
);

CREATE TABLE promotions (
	id VARCHAR(36) NOT NULL, 
	tunnel_id VARCHAR(36) NOT NULL, 
	kind TEXT NOT NULL, 
	from_token_id VARCHAR(36), 
	to_token_id VARCHAR(36) NOT NULL, 
	epoch_before INTEGER NOT NULL, 
	epoch INTEGER, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	hold_s FLOAT NOT NULL, 
	drain_s FLOAT NOT NULL, 
	most_held INTEGER NOT NULL, 
	has_before BOOLEAN NOT NULL, 
	has_after BOOLEAN NOT NULL, 
	step_done TEXT NOT NULL, 
	step_error TEXT NOT NULL, 
	undo_reason TEXT NOT NULL, 
	held INTEGER NOT NULL, 
	cut INTEGER NOT NULL, 
	timeline JSON NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	CONSTRAINT pk_promotions PRIMARY KEY (id), 
	CONSTRAINT fk_promotions_tunnel_id_tunnels FOREIGN KEY(tunnel_id) REFERENCES tunnels (id)
);

CREATE UNIQUE INDEX uq_promotions_tunnel_id_unfinished ON promotions (tunnel_id) WHERE finished_at IS NULL;

CREATE INDEX ix_promotions_tunnel_id_started_at ON promotions (tunnel_id, started_at);

CREATE TABLE zone_settings (
	zone_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	value JSON NOT NULL, 
	modified_at DATETIME NOT NULL, 
	CONSTRAINT pk_zone_settings PRIMARY KEY (zone_id, name), 
	CONSTRAINT fk_zone_settings_zone_id_zones FOREIGN KEY(zone_id) REFERENCES zones (id) ON DELETE CASCADE
);

CREATE TABLE series_frames (
	step INTEGER NOT NULL, 
	start BIGINT NOT NULL, 
	content BLOB NOT NULL, 
	CONSTRAINT pk_series_frames PRIMARY KEY (step, start)
);

CREATE TABLE memberships (
	user_id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	role TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_memberships PRIMARY KEY (user_id, account_id), 
	CONSTRAINT fk_memberships_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE sessions (
	id VARCHAR(32) NOT NULL, 
	user_id VARCHAR(32) NOT NULL, 
	token_id VARCHAR(32), 
	sha256 BLOB NOT NULL, 
	way TEXT NOT NULL, 
	is_pending BOOLEAN NOT NULL, 
	failures INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	address TEXT NOT NULL, 
	user_agent TEXT NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (id), 
	CONSTRAINT fk_sessions_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_sessions_token_id_api_tokens FOREIGN KEY(token_id) REFERENCES api_tokens (id) ON DELETE CASCADE, 
	CONSTRAINT uq_sessions_sha256 UNIQUE (sha256)
);

CREATE INDEX ix_sessions_user_id ON sessions (user_id);

CREATE INDEX ix_sessions_token_id ON sessions (token_id);

CREATE TABLE authenticators (
	id VARCHAR(32) NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	confirmed_at DATETIME, 
	last_step BIGINT NOT NULL, 
	CONSTRAINT pk_authenticators PRIMARY KEY (id), 
	CONSTRAINT fk_authenticators_id_users FOREIGN KEY(id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE recovery_codes (
	user_id VARCHAR(32) NOT NULL, 
	sha256 BLOB NOT NULL, 
	used_at DATETIME, 
	CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, sha256), 
	CONSTRAINT fk_recovery_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE one_time_tokens (
	sha256 BLOB NOT NULL, 
	user_id VARCHAR(32) NOT NULL, 
	purpose TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	CONSTRAINT pk_one_time_tokens PRIMARY KEY (sha256), 
	CONSTRAINT fk_one_time_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX ix_one_time_tokens_user_id ON one_time_tokens (user_id);

CREATE TABLE passkeys (
	id VARCHAR(32) NOT NULL, 
	user_id VARCHAR(32) NOT NULL, 
	credential_id BLOB NOT NULL, 
	public_key BLOB NOT NULL, 
	sign_count BIGINT NOT NULL, 
	rp_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	transports TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_used_at DATETIME, 
	CONSTRAINT pk_passkeys PRIMARY KEY (id), 
	CONSTRAINT fk_passkeys_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT uq_passkeys_credential_id UNIQUE (credential_id)
);

CREATE INDEX ix_passkeys_user_id ON passkeys (user_id);

CREATE TABLE identities (
	issuer TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	user_id VARCHAR(32) NOT NULL, 
	email TEXT NOT NULL, 
	is_provisioned BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_used_at DATETIME, 
	CONSTRAINT pk_identities PRIMARY KEY (issuer, subject), 
	CONSTRAINT fk_identities_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX ix_identities_user_id ON identities (user_id);

CREATE TABLE waiting_certificates (
	id VARCHAR(64) NOT NULL, 
	token_id VARCHAR(32) NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	expires_at DATETIME NOT NULL, 
	fetched_at DATETIME, 
	CONSTRAINT pk_waiting_certificates PRIMARY KEY (id), 
	CONSTRAINT fk_waiting_certificates_token_id_api_tokens FOREIGN KEY(token_id) REFERENCES api_tokens (id) ON DELETE CASCADE
);

CREATE INDEX ix_waiting_certificates_token_id ON waiting_certificates (token_id);

CREATE TABLE alert_channels (
	id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	document JSON NOT NULL, 
	sealed_secret BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	modified_at DATETIME NOT NULL, 
	last_at DATETIME, 
	last_error TEXT NOT NULL, 
	delivered_at DATETIME, 
	dropped INTEGER NOT NULL, 
	CONSTRAINT pk_alert_channels PRIMARY KEY (id), 
	CONSTRAINT fk_alert_channels_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);

CREATE INDEX ix_alert_channels_account_id ON alert_channels (account_id);

CREATE TABLE alert_rules (
	id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	settings JSON NOT NULL, 
	tunnel_id VARCHAR(36), 
	zone_id VARCHAR(32), 
	hostname VARCHAR(253), 
	of_edge BOOLEAN NOT NULL, 
	channels JSON NOT NULL, 
	silenced_until DATETIME, 
	created_at DATETIME NOT NULL, 
	modified_at DATETIME NOT NULL, 
	CONSTRAINT pk_alert_rules PRIMARY KEY (id), 
	CONSTRAINT fk_alert_rules_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);

CREATE INDEX ix_alert_rules_account_id ON alert_rules (account_id);

CREATE TABLE alert_firings (
	id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	rule_id VARCHAR(32) NOT NULL, 
	subject TEXT NOT NULL, 
	label TEXT NOT NULL, 
	why TEXT NOT NULL, 
	since DATETIME NOT NULL, 
	fired_at DATETIME NOT NULL, 
	told_at DATETIME, 
	resolved_at DATETIME, 
	spells INTEGER NOT NULL, 
	CONSTRAINT pk_alert_firings PRIMARY KEY (id), 
	CONSTRAINT fk_alert_firings_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_alert_firings_rule_id_alert_rules FOREIGN KEY(rule_id) REFERENCES alert_rules (id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX uq_alert_firings_rule_id_subject_open ON alert_firings (rule_id, subject) WHERE resolved_at IS NULL;

CREATE INDEX ix_alert_firings_account_id_fired_at ON alert_firings (account_id, fired_at);

CREATE INDEX ix_alert_firings_rule_id_subject ON alert_firings (rule_id, subject);

CREATE TABLE alert_deliveries (
	id VARCHAR(32) NOT NULL, 
	account_id VARCHAR(32) NOT NULL, 
	channel_id VARCHAR(32) NOT NULL, 
	event_id VARCHAR(32) NOT NULL, 
	message JSON NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	created_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	error TEXT NOT NULL, 
	CONSTRAINT pk_alert_deliveries PRIMARY KEY (id), 
	CONSTRAINT fk_alert_deliveries_account_id_accounts FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_alert_deliveries_channel_id_alert_channels FOREIGN KEY(channel_id) REFERENCES alert_channels (id) ON DELETE CASCADE
);

CREATE INDEX ix_alert_deliveries_state_next_at ON alert_deliveries (state, next_at);

CREATE INDEX ix_alert_deliveries_channel_id_created_at ON alert_deliveries (channel_id, created_at);

CREATE INDEX ix_alert_deliveries_account_id_created_at ON alert_deliveries (account_id, created_at);

INSERT INTO alembic_version VALUES ('0013');

