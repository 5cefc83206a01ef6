# The program itself writes its completion, so that it always fits the program that is installed.
_AUTH0_SEGMENT_POLLER_COMPLETE=fish_source auth0-segment-poller | source
