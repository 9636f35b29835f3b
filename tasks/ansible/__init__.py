"""What runs as or inside Ansible: its configuration, our plugins and modules, and the warm process playbooks are forked from.

Nothing here is imported by the rest of Headgate (only paths are used), and nothing here may import the rest: these files run
in a cleared environment, most of them inside a build's sandbox.
"""
