"""Many runs: which there are, how they are started, and what came of them.

`grid.py` and `search.py` say which jobs there are; `pool.py` runs them; `table.py` and `figure.py` show the results. A
job's folder is the truth about it, so a sweep that was killed goes on where it was.
"""
