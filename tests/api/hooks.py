"""What Schemathesis does not ask."""

from urllib.parse import urlencode

import schemathesis

# The HTTP server cannot read a request line of 64 KB and more, and says so in an answer without a body.
LONGEST = 60_000


@schemathesis.hook
def filter_query(context, query):
    return len(urlencode(query or {})) < LONGEST
