"""The commands that a stock cloudflared has, with its flags, output and exit codes. They load no Typer: a command that a script
calls is answered before that would be loaded."""
