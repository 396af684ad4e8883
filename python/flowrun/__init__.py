"""flowrun from Python: a graph's batches for a trainer (Feed), and stages written as functions (flowrun.stage)."""
from flowrun.batch import Batch
from flowrun.errors import EndOfRun, FeedError, FlowrunError, ReleasedError, StaleBatch
from flowrun.feed import Feed

__version__ = "0.1.0"
__all__ = ["Batch", "EndOfRun", "Feed", "FeedError", "FlowrunError", "ReleasedError", "StaleBatch"]
