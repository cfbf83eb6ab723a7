"""A report as one HTML file that fetches nothing: template, style and script lie beside the code that fills them."""
