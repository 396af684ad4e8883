"""flowrun from Python: a graph's batches for a trainer (Feed), and stages written as functions (stage)."""
from flowrun.batch import Batch
from flowrun.errors import EndOfRun, FeedError, FlowrunError, ReleasedError, StaleBatch
from flowrun.feed import Feed
from flowrun.stages import Context, Option, Reject, Tensor, main, stage

__version__ = "0.1.0"
__all__ = ["Batch", "Context", "EndOfRun", "Feed", "FeedError", "FlowrunError", "Option", "Reject", "ReleasedError", "StaleBatch", "Tensor", "main", "stage"]
