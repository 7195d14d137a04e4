"""What a writer is told to do: the same words in pretraining and in every task.

A source begins with one of these as its segment of kind "context", so that a task goes on from what
pretraining taught.
"""

from __future__ import annotations

EXPLAIN = "write why the user would enjoy it"
TITLE = "write the title"
QUERY = "write the search query"
REPLY = "write the reply"
