export DIB_CI_USER=${DIB_CI_USER:-zuul}
# public keys that may always log in, a file of the building machine; a build's own key comes when the node is launched
export DIB_CI_AUTHORIZED_KEYS=${DIB_CI_AUTHORIZED_KEYS:-}
