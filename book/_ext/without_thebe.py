"""Takes sphinx-thebe's scripts off every page: the theme adds them, they need a CDN, and they throw without one."""

MARKS = ("sphinx-thebe", "THEBE_JS_URL")


def setup(app):
    """Connect to Sphinx, after the extensions that add the scripts."""
    app.connect("html-page-context", drop_scripts, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def drop_scripts(app, pagename, templatename, context, doctree):
    """Keep every script but thebe's."""
    context["script_files"] = [script for script in context["script_files"] if not is_thebe(script)]


def is_thebe(script) -> bool:
    """Whether a script, known by its file or by its text, is one of thebe's."""
    body = getattr(script, "attributes", {}).get("body", "")
    return any(mark in f"{getattr(script, 'filename', script)} {body}" for mark in MARKS)
