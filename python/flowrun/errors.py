"""What can go wrong."""


class FlowrunError(Exception):
    """Any failure of flowrun that a program may want to catch."""


class FeedError(FlowrunError):
    """The graph or its feed failed, refused, or can't be reached."""


class EndOfRun(FeedError):
    """All epochs of the graph have been had."""


class StaleBatch(FeedError):
    """The feed died while a batch was in use: what was computed from it may be wrong. Go back to the last checkpoint."""


class ReleasedError(FeedError):
    """A batch is used after it was released."""
