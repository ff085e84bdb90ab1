"""`data prepare`: from any store to the training store. Plan, shards, the store under construction, the run."""
