"""One thin file per stage: joins pipeline and stefaland, holds no arithmetic."""
