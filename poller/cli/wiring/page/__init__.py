"""The live page, bound together from settings. The page is imported only if it is on."""
