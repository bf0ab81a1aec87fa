"""Every stock command, with its flags: names, aliases, variables and defaults are cloudflared's; some flags more are ours."""

from qanat.cli.stock.command_line import Command, Flag

OUTPUT = Flag("output", "text", "json or yaml; a table for people without it", ("o",))
CREDENTIALS_FILE = Flag("credentials-file", "text", "the tunnel's credentials file", ("cred-file",), "TUNNEL_CRED_FILE")
VNET = Flag("vnet", "text", "ID or name of the virtual network", ("vn",))
LOST = Flag("show-recently-disconnected", "bool", "with connections that were lost a moment ago", ("rd",))

API = (
    Flag("api", "text", "address of the API, ending in /client/v4", ours=True),
    Flag("token-file", "text", "file with an API token, in place of cert.pem", ours=True),
    Flag("profile", "text", "profile with address and token, in place of cert.pem", ours=True),
    Flag("account", "text", "id or name of the account, where the token sees several", ours=True),
)


def _tunnel(name: str, about: str, usage: str, place: str, *flags: Flag, aliases: tuple[str, ...] = ()) -> Command:
    return Command(("tunnel", *name.split()), about, usage, place, (*flags, *API), aliases=aliases)


_ACCESS_TCP = (
    Flag("hostname", "text", "the application's public hostname", ("tunnel-host", "T"), "TUNNEL_SERVICE_HOSTNAME"),
    Flag("destination", "text", "host:port behind a bastion", (), "TUNNEL_SERVICE_DESTINATION"),
    Flag(
        "url",
        "text",
        "host:port to listen on; without it standard input and output",
        ("listener", "L"),
        "TUNNEL_SERVICE_URL",
    ),
    Flag("header", "texts", "a further request header, `Name: value`; may be repeated", ("H",)),
    Flag("service-token-id", "text", "an Access service token's ID", ("id",), "TUNNEL_SERVICE_TOKEN_ID"),
    Flag(
        "service-token-secret", "text", "its secret; better by the variable", ("secret",), "TUNNEL_SERVICE_TOKEN_SECRET"
    ),
    Flag("logfile", "text", "a file that gets every log line as JSON"),
    Flag("log-directory", "text", "a folder for the log, begun anew at 1 MiB"),
    Flag("log-level", "text", "debug, info, warn, error or fatal", ("loglevel",)),
    Flag("connect-to", "text", "connect elsewhere: host, host:port, or sni:port:host", hidden=True),
    Flag("debug-stream", "count", "log the first messages' sizes", hidden=True),
    Flag("cacert", "text", "PEM file: the only CAs that the edge is trusted by", ours=True),
    Flag("fedramp", "bool", "an account in FedRAMP", hidden=True),
)
_APP = Flag("app", "text", "the application's URL, in place of the argument")
_FEDRAMP = Flag("fedramp", "bool", "an account in FedRAMP", hidden=True)

_ALL = (
    _tunnel(
        "create",
        "Make a tunnel, and its credentials file beside cert.pem.",
        "NAME",
        "tunnels:create",
        OUTPUT,
        CREDENTIALS_FILE,
        Flag("secret", "text", "the tunnel's secret: base64 of at least 32 bytes", ("s",), "TUNNEL_CREATE_SECRET"),
        Flag("config-src", "text", "where rules come from: local (a file) or cloudflare (the API)", ours=True),
    ),
    _tunnel(
        "list",
        "List tunnels.",
        "",
        "tunnels:list_",
        OUTPUT,
        Flag("show-deleted", "bool", "with deleted ones", ("d",)),
        Flag("name", "text", "only the one of this name", ("n",)),
        Flag("name-prefix", "text", "only those whose name begins so", ("np",)),
        Flag("exclude-name-prefix", "text", "without those whose name begins so", ("enp",)),
        Flag("when", "text", "those that were there at this time (RFC 3339)", ("w",)),
        Flag("id", "text", "only the one of this ID", ("i",)),
        LOST,
        Flag("sort-by", "text", "name, id, createdAt, deletedAt or numConnections", (), "TUNNEL_LIST_SORT_BY"),
        Flag("invert-sort", "bool", "the other way round", (), "TUNNEL_LIST_INVERT_SORT"),
        Flag("deleted", "bool", "the deleted ones alone", ours=True),
    ),
    _tunnel(
        "info",
        "Show a tunnel's connectors.",
        "TUNNEL",
        "tunnels:info",
        OUTPUT,
        LOST,
        Flag("sort-by", "text", "id, createdAt, numConnections or version", (), "TUNNEL_INFO_SORT_BY"),
        Flag("invert-sort", "bool", "the other way round", (), "TUNNEL_INFO_INVERT_SORT"),
    ),
    _tunnel(
        "delete",
        "Delete tunnels and their credentials files.",
        "TUNNEL...",
        "tunnels:delete",
        CREDENTIALS_FILE,
        Flag("force", "bool", "also when it is connected or routes lead to it", ("f",), "TUNNEL_RUN_FORCE_OVERWRITE"),
    ),
    _tunnel(
        "cleanup",
        "Drop tunnels' connections; connectors that still run come back.",
        "TUNNEL...",
        "tunnels:cleanup",
        Flag("connector-id", "text", "only this connector's", ("c", "connector"), "TUNNEL_CLEANUP_CONNECTOR"),
    ),
    _tunnel(
        "token",
        "Print the token that a tunnel is run by, or write it as a credentials file.",
        "TUNNEL",
        "tunnels:token",
        CREDENTIALS_FILE,
        Flag("output", "text", "json or yaml", ("o",), ours=True),
    ),
    _tunnel(
        "route dns",
        "Send a public hostname to a tunnel: a proxied CNAME in its zone.",
        "TUNNEL HOSTNAME",
        "routes:dns",
        Flag(
            "overwrite-dns",
            "bool",
            "replace what the name points to",
            ("f", "overwrite"),
            "TUNNEL_FORCE_PROVISIONING_DNS",
        ),
    ),
    _tunnel("route lb", "Make a tunnel an origin of a load balancer's pool.", "TUNNEL HOSTNAME LB-POOL", "routes:lb"),
    _tunnel(
        "route ip add",
        "Store a route to a private network. An edge of qanat carries no traffic for it yet.",
        "CIDR TUNNEL [COMMENT]",
        "routes:add",
        VNET,
        Flag("comment", "text", "a few words on what it is", ours=True),
    ),
    _tunnel(
        "route ip show",
        "List routes to private networks.",
        "",
        "routes:show",
        OUTPUT,
        Flag("filter-is-deleted", "bool", "the deleted ones instead"),
        Flag("filter-tunnel-id", "text", "only this tunnel's"),
        Flag("filter-network-is-subset-of", "text", "only those within this network", ("nsub",)),
        Flag("filter-network-is-superset-of", "text", "only those around this network", ("nsup",)),
        Flag("filter-comment-is", "text", "only those with this comment"),
        Flag("filter-vnet-id", "text", "only this virtual network's"),
        aliases=("list",),
    ),
    _tunnel("route ip delete", "Delete a route to a private network.", "ID|CIDR", "routes:delete", VNET),
    _tunnel("route ip get", "Show which route an address takes.", "IP", "routes:get", VNET),
    _tunnel(
        "vnet add",
        "Make a virtual network.",
        "NAME [COMMENT]",
        "networks:add",
        Flag("default", "bool", "as the account's default", ("d",)),
    ),
    _tunnel(
        "vnet list",
        "List virtual networks.",
        "",
        "networks:list_",
        OUTPUT,
        Flag("id", "text", "only the one of this ID"),
        Flag("name", "text", "only the one of this name"),
        Flag("is-default", "bool", "only the default one; with =false all others"),
        Flag("show-deleted", "bool", "the deleted ones instead"),
    ),
    _tunnel(
        "vnet delete",
        "Delete a virtual network.",
        "VIRTUAL_NETWORK",
        "networks:delete",
        Flag("force", "bool", "also when routes are in it", ("f",)),
    ),
    _tunnel(
        "vnet update",
        "Change a virtual network.",
        "VIRTUAL_NETWORK",
        "networks:update",
        Flag("name", "text", "its new name", ("n",)),
        Flag("comment", "text", "its new comment", ("c",)),
        Flag("default", "bool", "make it the default", ("d",)),
    ),
    Command(
        ("tunnel", "ingress", "validate"),
        "Check the ingress rules of the configuration file.",
        "",
        "ingress:validate",
        (Flag("json", "text", "these rules, as JSON, instead of the file's", ("j",), "TUNNEL_INGRESS_VALIDATE_JSON"),),
    ),
    Command(("tunnel", "ingress", "rule"), "Say which ingress rule takes a URL.", "URL", "ingress:rule"),
    Command(
        ("tunnel", "login"),
        "Get cert.pem: by an API token, or on a page in your browser, of the API's edge (--loginURL: another one).",
        "",
        "login:login",
        (
            Flag("loginURL", "text", "the page where a certificate is granted"),
            Flag("callbackURL", "text", "where the certificate is left to be fetched"),
            Flag("fedramp", "bool", "the page of a FedRAMP account", ("f",), hidden=True),
            Flag("zone", "text", "the zone that the certificate is for, where there are several", ours=True),
            Flag("file", "text", "where to write it, in place of ~/.cloudflared/cert.pem", ours=True),
            *API,
        ),
    ),
    Command(
        ("tunnel", "ready"),
        "Ask a connector's /ready, by --metrics; exit status 0 when it is.",
        "",
        "ready:ready",
    ),
    Command(
        ("tunnel", "diag"),
        "Write a zip with what helps to find a fault of a connector on this host; secrets are taken out.",
        "",
        "diag:diag",
        (
            Flag("diag-container-id", "text", "a container whose log is taken, by docker"),
            Flag("diag-pod-id", "text", "a pod whose log is taken, by kubectl"),
            Flag("no-diag-logs", "bool", "without the log"),
            Flag("no-diag-metrics", "bool", "without metrics"),
            Flag("no-diag-system", "bool", "without what there is to say of the host"),
            Flag("no-diag-runtime", "bool", "without profiles of the process"),
            Flag("no-diag-network", "bool", "without traces and checks of the way to the edge"),
        ),
    ),
    Command(
        ("tail",),
        "Follow a running connector's log, through its edge.",
        "[TUNNEL]",
        "tail:tail",
        (
            Flag("connector-id", "text", "only this connector's", (), "TUNNEL_MANAGEMENT_CONNECTOR"),
            Flag(
                "event",
                "texts",
                "cloudflared, http, tcp or udp; may be repeated, all without",
                (),
                "TUNNEL_MANAGEMENT_FILTER_EVENTS",
            ),
            Flag("level", "text", "debug, info, warn or error", (), "TUNNEL_MANAGEMENT_FILTER_LEVEL"),
            Flag("sample", "text", "a share of the lines: 0.0 .. 1.0", (), "TUNNEL_MANAGEMENT_FILTER_SAMPLE"),
            Flag("token", "text", "a management token; better by the variable", (), "TUNNEL_MANAGEMENT_TOKEN"),
            Flag("trace", "text", "a cf-trace-id for the request", hidden=True),
            *API,
        ),
    ),
    Command(
        ("management", "token"),
        "Print a token for the management of a tunnel's connectors, as JSON; it is good for an hour.",
        "TUNNEL",
        "management:print_management_token",
        (Flag("resource", "text", "logs, admin or host_details"), *API),
    ),
    *(
        Command(
            ("access", name),
            "Carry TCP to an application behind an edge: from a port of this host, or from standard input.",
            "",
            "carry:tcp",
            _ACCESS_TCP,
            hidden=name != "tcp",
        )
        for name in ("tcp", "ssh", "rdp", "smb")
    ),
    Command(
        ("access", "ssh-config"),
        "Print what ~/.ssh/config needs to reach a host through an edge.",
        "",
        "ssh:config",
        (
            Flag("hostname", "text", "the application's public hostname"),
            Flag("short-lived-cert", "bool", "with certificates that Access signs"),
            _FEDRAMP,
        ),
    ),
    Command(
        ("access", "ssh-gen"),
        "Get a short-lived SSH certificate for an application behind Access.",
        "",
        "ssh:gen",
        (Flag("hostname", "text", "the application's public hostname"), _FEDRAMP),
    ),
    Command(
        ("access", "login"),
        "Log in to an application behind Access, in your browser, and keep its token.",
        "URL",
        "access:login",
        (
            Flag("quiet", "bool", "don't print the token", ("q",)),
            Flag("no-verbose", "bool", "print the token alone"),
            Flag("auto-close", "bool", "close the browser's page afterwards"),
            _APP,
            _FEDRAMP,
        ),
    ),
    Command(
        ("access", "token"),
        "Print the kept token of an application behind Access.",
        "URL",
        "access:token",
        (_APP, _FEDRAMP),
    ),
    Command(
        ("access", "curl"),
        "Call curl with the token of an application behind Access.",
        "[--allow-request] URL [CURL ARGUMENTS...]",
        "access:curl",
        raw=True,
    ),
    Command(
        ("update",),
        "Say whether there is a newer release, or install it. Exit status: 0 none, 11 installed, 10 failed.",
        "",
        "update:update",
        (
            Flag("version", "text", "this version, also an older one"),
            Flag("beta", "bool", "also releases that are not final"),
            Flag("force", "bool", "also when it is the version that runs", hidden=True),
            Flag("staging", "bool", "accepted, without effect", hidden=True),
        ),
    ),
    Command(
        ("version",),
        "Print the version.",
        "",
        "version:version",
        (Flag("short", "bool", "the number alone", ("s",)),),
    ),
)

COMMANDS: dict[tuple[str, ...], Command] = {
    (*command.path[:-1], last): command for command in _ALL for last in (command.path[-1], *command.aliases)
}
COMMANDS |= {("forward", *path[1:]): command for path, command in COMMANDS.items() if path[0] == "access"}
