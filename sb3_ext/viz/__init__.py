"""
See what an agent does and why: videos, attributions, reports, learning curves. Needs the extra ``viz``; names are
imported from their modules.
"""
