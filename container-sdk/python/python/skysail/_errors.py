"""What goes wrong with a model."""


class RowError(Exception):
    """One row of a batch cannot be answered; the others stand.

    ``predict_row`` raises it; ``predict`` may return it in the place of a row, where it returns a
    list, or call :meth:`skysail.Ctx.fail_row`. Whoever asked for the row gets the message.
    """


class Unfit(Exception):
    """Not the model is to blame, but what it was started with or in.

    Raised by ``load``: a library is missing, a file is of another version. The container says the
    message, which should tell what to do, and exits with status 2. A missing module
    (``ImportError``) is one by itself.
    """


class ModelError(ValueError):
    """A model is not declared right, or has answered what its signature does not say."""
