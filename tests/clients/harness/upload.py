"""The formats of an upload."""

from .api import texts_of


def body(form, encodings, blocks=None):
    """Returns the JSON body of an upload in the format `form`, which defines the order of keys too."""
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
    """Returns a decimal name as a number: in `clknblocks`, both are valid and name the same block."""
    return int(name) if name.isdigit() else name


def upload(project, party, form, encodings, blocks=None):
    """Uploads the records of a party in the format `form`; returns the receipt token."""
    if form == "binary":
        return project.upload_binary(party, encodings)
    return project.upload(party, body(form, encodings, blocks))
