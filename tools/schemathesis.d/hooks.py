"""What tools/schemathesis changes in the requests that schemathesis makes."""
import schemathesis

# From here on a float has no fraction to lose.
WHOLE_MAX = 2**53


@schemathesis.hook
def map_body(context, body):
    """Writes whole numbers without a fraction.

    To a schema 72.0 is an integer, and no schema can say otherwise; to Skysail, as to Clipper, it
    is none where one is asked for.
    """
    return whole(body)


def whole(value):
    if isinstance(value, dict):
        return {name: whole(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE_MAX:
        return int(value)
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Takes `Inference-Header-Content-Length: 0` away from JSON.

    With it any bytes are a raw tensor, whatever the content type says: JSON bad by its schema is
    good then. A schema of one of the two cannot speak of the other.
    """
    if case.media_type == "application/json" and case.headers:
        if str(case.headers.get("Inference-Header-Content-Length")) == "0":
            del case.headers["Inference-Header-Content-Length"]
