"""Moving a stream from one ledger to another by a file, whatever databases they are in."""
