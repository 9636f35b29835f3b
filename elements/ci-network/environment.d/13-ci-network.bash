# glean comes as a package of Python's; its repository is needed only to install it from there
if [ "${DIB_INSTALLTYPE_simple_init:-source}" != repo ]; then
    export DIB_INSTALLTYPE_glean=${DIB_INSTALLTYPE_glean:-package}
fi
