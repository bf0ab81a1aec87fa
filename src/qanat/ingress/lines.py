"""Where in a YAML text something stands, for messages: a place such as `ingress[2].service` → its line."""

import re

_PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def line_of(text: bytes, where: str) -> int | None:
    """The line (from 1) of the key or entry that `where` names, or of the closest one around it that is there. The text is one
    that `read_yaml` accepts."""
    import yaml  # only when something is wrong

    try:
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return None
    line = None
    for index, key in _PART.findall(where):
        if index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
            node = node.value[int(index)]
            line = node.start_mark.line + 1
            continue
        pairs = node.value if key and isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in pairs if name.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
