"""The forms in which one party's records can be sent."""

from .api import texts_of


def body(form, encodings, blocks=None):
    """The JSON body of an upload form; key order is part of the form."""
    texts = texts_of(encodings)
    if form == "clks":
        return {"clks": texts}
    if form == "encodings":
        return {"encodings": texts}
    if form == "clknblocks":
        return {"clknblocks": [[text, *map(name_as_sent, names)] for text, names in zip(texts, blocks)]}
    named = {str(record): names for record, names in enumerate(blocks) if names or record % 2}
    if not named:
        named = {"0": []}
    if form == "encodings+blocks":
        return {"encodings": texts, "blocks": named}
    if form == "blocks+encodings":
        return {"blocks": dict(reversed(named.items())), "encodings": texts}
    raise AssertionError(form)


def name_as_sent(name):
    """Numbers are legal block names in `clknblocks` and mean the same as their decimal text."""
    return int(name) if name.isdigit() else name


def upload(project, party, form, encodings, blocks=None):
    """Uploads one party's records in that form; returns the receipt token."""
    if form == "binary":
        return project.upload_binary(party, encodings)
    return project.upload(party, body(form, encodings, blocks))
