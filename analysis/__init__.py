"""Tables and figures from recorded runs: reads records, never imports torch."""
