"""The instructor's tools: storing the notebooks, handing them out, grading, a site of static pages."""
